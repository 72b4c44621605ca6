"""The names of hardgrad.bits and where they are defined; made by `make stubs`."""

from hardgrad.bits.cky import BestTree as BestTree
from hardgrad.bits.cky import BitCKY as BitCKY
from hardgrad.bits.cky import TreeMarginals as TreeMarginals
from hardgrad.bits.cky import tree_log_partition as tree_log_partition
from hardgrad.bits.cky import tree_marginals as tree_marginals
from hardgrad.bits.grammar import RandomGrammar as RandomGrammar
from hardgrad.bits.hamming import HammingIndex as HammingIndex
from hardgrad.bits.hashing import ContrastiveHashingLoss as ContrastiveHashingLoss
from hardgrad.bits.parser import BitParser as BitParser
from hardgrad.bits.parser_model import ParserModel as ParserModel
from hardgrad.bits.span_trees import Span as Span
from hardgrad.bits.span_trees import binary_tree as binary_tree
from hardgrad.bits.span_trees import bracket_f1 as bracket_f1
from hardgrad.bits.span_trees import bracketed as bracketed
from hardgrad.bits.span_trees import constituents as constituents
from hardgrad.bits.tree_search import CodedTree as CodedTree
from hardgrad.bits.tree_search import best_trees as best_trees
