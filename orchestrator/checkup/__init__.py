"""What a place offers and what orch can promise there: questions and judgement are pure, `look` asks."""
