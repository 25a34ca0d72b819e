"""Licences: what is known of them, how their names are read, what a policy says of them; without torch."""

from pumice.licences.folder import folder_licence, front_matter
from pumice.licences.known import LICENCES, UNKNOWN, creative_commons
from pumice.licences.licence import OWN, Licence
from pumice.licences.policy import Policy, make_policy
from pumice.licences.read import Reading, licence_named, read_licence, short_id, suggestion

__all__ = [
    "LICENCES",
    "OWN",
    "UNKNOWN",
    "Licence",
    "Policy",
    "Reading",
    "creative_commons",
    "folder_licence",
    "front_matter",
    "licence_named",
    "make_policy",
    "read_licence",
    "short_id",
    "suggestion",
]
