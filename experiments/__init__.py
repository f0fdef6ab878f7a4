"""Programs that train and measure; they run from the checkout."""
