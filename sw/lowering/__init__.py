"""Operations to array plans: one module for each family of operations."""
