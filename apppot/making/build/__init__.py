"""Building images from recipes: `recipe` reads them, `steps` says what is done, `kept` keeps what steps made, `builder` does it."""
