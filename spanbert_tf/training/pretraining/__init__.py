"""Pretraining of an encoder, from a prepared corpus to a preset folder."""

from spanbert_tf.training.pretraining.evaluation import evaluate_pretrainer
from spanbert_tf.training.pretraining.run import Pretrained, pretrain

__all__ = ["Pretrained", "evaluate_pretrainer", "pretrain"]
