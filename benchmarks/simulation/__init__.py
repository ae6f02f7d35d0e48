"""A cluster that is not there, under Ray Tune's real driver.

Tune's TuneController and RayActorManager run as they are, and so does all of this project's driver. What they ask of
Ray (placement groups, actors, `ray.wait`, `ray.get`) is answered here, in simulated time. That time goes on by the
processor time that the driver takes, so that results queue up when it falls behind, and jumps to the next event when
it has nothing to do. What Ray's own calls would cost is measured on the real ones and added.
"""
