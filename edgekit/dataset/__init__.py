"""The one reservoir that mine, render and generate fill: rows, images, splits by scene."""

from edgekit.dataset.read import Dataset, open_dataset
from edgekit.dataset.sample import Sample, TaskMark
from edgekit.dataset.write import DatasetWriter

__all__ = ["Dataset", "DatasetWriter", "Sample", "TaskMark", "open_dataset"]
