from hpcsweep.api.info import PreparationInfo as PreparationInfo
from hpcsweep.api.info import RunInfo as RunInfo
from hpcsweep.api.info import SweepInfo as SweepInfo
from hpcsweep.api.planning import Plan as Plan
from hpcsweep.api.planning import plan as plan
from hpcsweep.api.results import load_results as load_results
from hpcsweep.api.results import report as report
from hpcsweep.api.session import HpcsweepWarning as HpcsweepWarning
from hpcsweep.api.submission import SubmittedSweep as SubmittedSweep
from hpcsweep.api.submission import submit as submit
from hpcsweep.api.tracking import list_sweeps as list_sweeps
from hpcsweep.api.tracking import status as status
from hpcsweep.api.tracking import wait as wait
from hpcsweep.errors import HpcsweepError as HpcsweepError
from hpcsweep.submit.client import SubmittedJob as SubmittedJob

__version__: str
