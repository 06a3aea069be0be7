"""edgekit: from raw drives to a small vision-language model running in the vehicle.

Importing this package imports nothing heavy; every station is reached through its own
folder (``from edgekit.distill import DistillConfig, distill``).
"""

__version__ = "0.1.0"
