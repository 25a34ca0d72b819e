"""`pumice data audit`: what is in data that should not be; ``check`` says how a check is written."""

from pumice.trust.audit.check import BYTES, PIXELS, ROWS, SEVERITIES, Check, Finding, Row, View
from pumice.trust.audit.material import Material, open_material
from pumice.trust.audit.registry import CHECKS, NAMES, Wishes, choose
from pumice.trust.audit.run import Audit, run_audit
from pumice.trust.audit.seen import Seen

__all__ = [
    "BYTES",
    "CHECKS",
    "NAMES",
    "PIXELS",
    "ROWS",
    "SEVERITIES",
    "Audit",
    "Check",
    "Finding",
    "Material",
    "Row",
    "Seen",
    "View",
    "Wishes",
    "choose",
    "open_material",
    "run_audit",
]
