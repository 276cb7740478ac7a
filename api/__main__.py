"""`python -m api`: the REST service, with the settings of the environment."""

import gc
import sys


def main() -> None:
    """Serve until told to stop."""
    # Hardly anything that a start makes is garbage, and to look for it took a quarter of the start.
    gc.disable()
    from api.server import collect_seldom, prepare
    from services import telemetry
    from services.errors import ServiceError
    from services.installation import Installation
    from services.logs import configure_logging
    from services.settings import load_settings

    try:
        settings = load_settings()
        configure_logging(settings)
        telemetry.start("api")
        installation = Installation.open(settings)
        try:
            server = prepare(installation)
            collect_seldom()
            server.run()
        finally:
            installation.close()
            telemetry.stop()
    except ServiceError as error:
        sys.exit(f"mdf: {error.message}")


# Guarded, and lazy above: the workbench's process imports this module too.
if __name__ == "__main__":
    main()
