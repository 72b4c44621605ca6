"""The names of hardgrad.bits and where they are defined; made by `make stubs`."""

from hardgrad.bits.lattice import LatticeQuantizer as LatticeQuantizer
from hardgrad.bits.lattice_codes import LatticeCodes as LatticeCodes
from hardgrad.bits.lattice_groups import InputMoments as InputMoments
from hardgrad.bits.lattice_groups import allocate_bits as allocate_bits
from hardgrad.bits.lattice_layers import ExactLatticeLinear as ExactLatticeLinear
from hardgrad.bits.lattice_layers import LatticeLinear as LatticeLinear
from hardgrad.bits.lattice_model import LatticeQuantization as LatticeQuantization
from hardgrad.bits.lattice_model import QuantizedLayer as QuantizedLayer
from hardgrad.bits.lattice_model import quantize_linear_layers as quantize_linear_layers
from hardgrad.bits.lattice_points import babai_round as babai_round
from hardgrad.bits.lattice_points import closest_lattice_point as closest_lattice_point
from hardgrad.bits.lattice_points import lll_reduce as lll_reduce
from hardgrad.bits.block_low_rank import BlockLowRank as BlockLowRank
from hardgrad.bits.block_low_rank import BlockLowRankLinear as BlockLowRankLinear
from hardgrad.bits.block_low_rank import GaudiLinear as GaudiLinear
from hardgrad.bits.block_low_rank_matrix import BlockLowRankMatrix as BlockLowRankMatrix
from hardgrad.bits.block_low_rank_training import WidthShrinker as WidthShrinker
from hardgrad.bits.block_low_rank_training import block_low_rank_groups as block_low_rank_groups
from hardgrad.bits.block_low_rank_training import replace_dense_layers as replace_dense_layers
