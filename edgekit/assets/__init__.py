"""What ships in the package: a nano teacher, a sample Dataset, sample drives. See make.py."""
