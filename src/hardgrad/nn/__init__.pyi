"""The names of hardgrad.nn and where they are defined; made by `make stubs`."""

from hardgrad.nn.activations import PiecewiseLinear as PiecewiseLinear
from hardgrad.nn.activations import SAU as SAU
from hardgrad.nn.activations import SmoothedActivation as SmoothedActivation
from hardgrad.nn.channel_gate import ChannelMask as ChannelMask
from hardgrad.nn.channel_gate import TrainableGate as TrainableGate
from hardgrad.nn.comparator_network import ComparatorNetwork as ComparatorNetwork
from hardgrad.nn.conditional import ConditionalBlock as ConditionalBlock
from hardgrad.nn.conditional import ExactConditionalBlock as ExactConditionalBlock
from hardgrad.nn.conditional import sparsity_penalty as sparsity_penalty
from hardgrad.nn.entropy import EntropyNet as EntropyNet
from hardgrad.nn.entropy import EntropyRegularizedAttention as EntropyRegularizedAttention
from hardgrad.nn.gated_mlp import GatedMLP as GatedMLP
from hardgrad.nn.memory_saving.convert import save_memory as save_memory
from hardgrad.nn.prune import GatePruner as GatePruner
from hardgrad.nn.sorting import PermutationEquivariantScorer as PermutationEquivariantScorer
from hardgrad.nn.sorting import SortingNetwork as SortingNetwork
from hardgrad.nn.vector_quantizer import NearestCode as NearestCode
from hardgrad.nn.vector_quantizer import VectorQuantizer as VectorQuantizer
