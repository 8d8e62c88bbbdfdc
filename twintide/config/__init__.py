"""The configuration of one deployment: a YAML file, read strictly.

Unknown keys are refused, units stand in the names, secrets come from the environment only, and a
combination that cannot work is refused with the reason. Each stage gets its own section as a value:
one file each here; `deployment` is all of them, `loading` reads them.
"""

from twintide.config.datafile import DataFileConfig
from twintide.config.deployment import Deployment
from twintide.config.folders import FoldersConfig
from twintide.config.kafka import KafkaConfig
from twintide.config.loading import KEYS, examine, fill_in, load, parse, values_in
from twintide.config.publishing import GateConfig, MilvusConfig, PublishingConfig
from twintide.config.serving import ServingConfig
from twintide.config.shards import ShardsConfig
from twintide.config.training import HourlyConfig, NightlyConfig, ReplayConfig, TrainingConfig

__all__ = [
    "KEYS",
    "DataFileConfig",
    "Deployment",
    "FoldersConfig",
    "GateConfig",
    "HourlyConfig",
    "KafkaConfig",
    "MilvusConfig",
    "NightlyConfig",
    "PublishingConfig",
    "ReplayConfig",
    "ServingConfig",
    "ShardsConfig",
    "TrainingConfig",
    "examine",
    "fill_in",
    "load",
    "parse",
    "values_in",
]
