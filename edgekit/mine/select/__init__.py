"""Which mined frames are worth a row: no repeats, no misaligned pairs, rare scenes first."""
