"""What several tests share: targets with known answers, models, data."""
