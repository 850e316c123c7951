"""One noun or stage a file; pure functions, no Prefect (flows/stages.py wraps them)."""

import logging
import os

# Set before any library is imported: none of them has business with the network on its own account, TensorFlow's
# start-up chatter hides real messages, and Prefect shows our own loggers in a run's page.
for _name, _value in {
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "f2f",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # the same functions run outside of flows, too
    "TF_CPP_MIN_LOG_LEVEL": "2",
}.items():
    os.environ.setdefault(_name, _value)

# Prefect gives the loggers named above its handler, but not its level: without this their INFO lines would be lost.
logging.getLogger("f2f").setLevel(logging.INFO)
