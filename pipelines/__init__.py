"""What the product does: plain functions over plain data; the pure part of each rule stands apart from its SQL."""
