"""LaRVAE: the label replacement variational auto-encoder, in PyTorch and NumPy.

The method alone: data, networks, objective, metrics and the training of one member.
It knows nothing of Ray, Optuna, MLflow or matplotlib; `tests/test_architecture.py` holds that.
"""
