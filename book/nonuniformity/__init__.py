"""Zhou, Wu, Wang, Fu, Yang: Beyond Sharpness: The Role of Nonuniformity in Generalization."""
