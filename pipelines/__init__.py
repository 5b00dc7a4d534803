"""What the product does: plain functions over plain data, the pure part of each rule apart from what reads and writes."""
