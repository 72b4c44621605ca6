"""The names of hardgrad.trees and where they are defined; made by `make stubs`."""

from hardgrad.trees.branch_tree import BranchTree as BranchTree
from hardgrad.trees.compression import compress as compress
from hardgrad.trees.estimators import SoftForestClassifier as SoftForestClassifier
from hardgrad.trees.estimators import SoftForestRegressor as SoftForestRegressor
from hardgrad.trees.explanation import explain as explain
from hardgrad.trees.forest import Forest as Forest
from hardgrad.trees.forest_build import ForestBuilder as ForestBuilder
from hardgrad.trees.forest_build import forest_from_trees as forest_from_trees
from hardgrad.trees.hybrid_neighbourhood import HybridNeighbourhood as HybridNeighbourhood
from hardgrad.trees.hybrid_neighbourhood import hybrid_switch as hybrid_switch
from hardgrad.trees.importers import import_forest as import_forest
from hardgrad.trees.matching_neighbourhood import MatchingNeighbourhood as MatchingNeighbourhood
from hardgrad.trees.meta_tree import MetaTreeClassifier as MetaTreeClassifier
from hardgrad.trees.meta_tree_training import train_meta_tree as train_meta_tree
from hardgrad.trees.meta_tree_weights import MetaTreeWeights as MetaTreeWeights
from hardgrad.trees.multipath import DecayChoice as DecayChoice
from hardgrad.trees.multipath import ID3Tree as ID3Tree
from hardgrad.trees.multipath import MultiPathTreePredictor as MultiPathTreePredictor
from hardgrad.trees.multipath import tune_decay as tune_decay
from hardgrad.trees.neighbourhood_estimators import NearestNeighbourhoodClassifier as NearestNeighbourhoodClassifier
from hardgrad.trees.neighbourhood_estimators import NearestNeighbourhoodRegressor as NearestNeighbourhoodRegressor
from hardgrad.trees.soft_forest import SoftForest as SoftForest
