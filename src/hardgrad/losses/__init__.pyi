"""The names of hardgrad.losses and where they are defined; made by `make stubs`."""

from hardgrad.losses.entropies import range_entropy as range_entropy
from hardgrad.losses.entropies import run_entropy as run_entropy
from hardgrad.losses.permutation import HardPermutationLoss as HardPermutationLoss
from hardgrad.losses.permutation import PermutationBCE as PermutationBCE
from hardgrad.losses.permutation import permutation_target as permutation_target
from hardgrad.losses.ranking import ApproxNDCGLoss as ApproxNDCGLoss
from hardgrad.losses.ranking import LambdaLoss as LambdaLoss
from hardgrad.losses.ranking import ListNetLoss as ListNetLoss
from hardgrad.losses.ranking import NeuralNDCGLoss as NeuralNDCGLoss
from hardgrad.losses.ranking import RankNetLoss as RankNetLoss
