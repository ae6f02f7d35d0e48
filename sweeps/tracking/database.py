"""Checks that a database for MLflow's data answers, before anything is started."""

from __future__ import annotations

from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from larvae.errors import InvalidInputError
from sweeps.tracking.addresses import masked, shown

ANSWER_SECONDS = 4
"""Seconds for each of a host's addresses; `localhost` has two."""
_TIMEOUTS = {"pg8000": "timeout", "pyodbc": "timeout", "pymssql": "login_timeout"}
"""Drivers' names of the seconds in which a connection is made, where they do not call them connect_timeout."""
_INSTALL = "pip install psycopg2-binary and write postgresql+psycopg2://"
_UNPARSED = "no address of a database; write postgresql+psycopg2://USER@HOST/DATABASE"


def require_database(uri: str) -> None:
    """Raise InvalidInputError, within 10 s, unless the database takes a connection. Writes nothing."""
    if fault := _fault(uri):
        raise InvalidInputError(f"`tracking_uri` must be a database that answers, got {shown(uri)}: {fault}")


def _fault(uri: str) -> str:
    """The fault, and what to do about it, in one line; empty where there is none."""
    try:
        timeout = _TIMEOUTS.get(make_url(uri).get_driver_name(), "connect_timeout")
        create_engine(uri, poolclass=NullPool, connect_args={timeout: ANSWER_SECONDS}).connect().close()
    except NoSuchModuleError:
        return f"no driver of that name; {_INSTALL}"
    except ImportError as error:
        driver = error.name or str(error)
        advice = _INSTALL if uri.startswith("postgresql") else f"install {driver}, or use sqlite:///mlflow.db"
        return f"its driver {driver} is not installed; {advice}"
    except (ArgumentError, ValueError):  # whose message shows the password
        return _UNPARSED
    except SQLAlchemyError as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split()).replace("; ", ", ")
        return f"{masked(said, uri)[:200]}; mend the address or the database, or use sqlite:///mlflow.db"
    return ""
