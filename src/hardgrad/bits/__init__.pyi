"""The names of hardgrad.bits and where they are defined; made by `make stubs`."""

from hardgrad.bits.block_low_rank import BlockLowRank as BlockLowRank
from hardgrad.bits.block_low_rank import BlockLowRankLinear as BlockLowRankLinear
from hardgrad.bits.block_low_rank import GaudiLinear as GaudiLinear
from hardgrad.bits.block_low_rank_matrix import BlockLowRankMatrix as BlockLowRankMatrix
from hardgrad.bits.block_low_rank_training import WidthShrinker as WidthShrinker
from hardgrad.bits.block_low_rank_training import block_low_rank_groups as block_low_rank_groups
from hardgrad.bits.block_low_rank_training import replace_dense_layers as replace_dense_layers
