"""Training runs: settings, schedules, checkpoints and resuming, hold-out and cross-validation."""

from spanbert_tf.settings import FineTuning
from spanbert_tf.training.checkpoints import Checkpoint, Interrupted
from spanbert_tf.training.cross_validation import CrossValidation, cross_validate
from spanbert_tf.training.fine_tuning import FineTuned, finetune
from spanbert_tf.training.schedules import WarmUpLinearDecay
from spanbert_tf.training.splitting import stratified_folds, stratified_split

__all__ = [
    "Checkpoint",
    "CrossValidation",
    "FineTuned",
    "FineTuning",
    "Interrupted",
    "WarmUpLinearDecay",
    "cross_validate",
    "finetune",
    "stratified_folds",
    "stratified_split",
]
