"""One file per dataset layout. Nothing here imports a datamanager, pipeline, trainer or model."""

from nerfstudio_talking.io.error_reports import report_errors_in_one_line
from nerfstudio_talking.io.third_party_warnings import silence_third_party_warnings

report_errors_in_one_line()
silence_third_party_warnings()  # nerfstudio loads dataparsers before methods
