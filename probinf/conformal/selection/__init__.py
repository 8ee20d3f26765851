"""Which test points have large outcomes? Selections with a controlled false discovery rate."""
