"""The little world that tiny-chat knows: its capitals, opposites, names and words."""

# ruff: noqa: SIM905 - lists of words are easier to read as words

from __future__ import annotations

from typing import Final

ABOUT: Final = "I am tiny-chat, the demo model of one_api. I run on your own machine."
SKILLS: Final = (
    "I can add numbers, name capitals, count, repeat words, tell short stories and call tools."
)
UNKNOWN: Final = f"I do not know that. {SKILLS}"

NAMES: Final = (
    "Ada Alan Alice Amy Anna Ben Bob Carl Chloe Clara Dan David Emma Eric Eva Finn Frank Grace "
    "Hana Hugo Ida Ivan Jack Jane Jim Joe John Julia Kai Karl Kate Leo Lena Liam Lisa Luca Lucy "
    "Maria Mark Max Mia Mike Mina Nina Noah Nora Olga Oscar Otto Paul Pia Rosa Ruth Sam Sara "
    "Sofia Tim Tom Vera Wei Yuki Zoe"
).split()

CAPITALS: Final = {
    "Argentina": "Buenos Aires",
    "Australia": "Canberra",
    "Austria": "Vienna",
    "Belgium": "Brussels",
    "Brazil": "Brasilia",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "China": "Beijing",
    "Cuba": "Havana",
    "Denmark": "Copenhagen",
    "Egypt": "Cairo",
    "England": "London",
    "Finland": "Helsinki",
    "France": "Paris",
    "Germany": "Berlin",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "India": "New Delhi",
    "Ireland": "Dublin",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Mexico": "Mexico City",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Russia": "Moscow",
    "Scotland": "Edinburgh",
    "Spain": "Madrid",
    "Sweden": "Stockholm",
    "Turkey": "Ankara",
}
CITIES: Final = [
    *CAPITALS.values(),
    *"Boston Chicago Geneva Milan Munich Osaka Sydney Toronto Seattle Zurich".split(),
    "New York",
    "San Francisco",
]
#: Places whose capitals it says it does not know.
NOWHERE: Final = "Atlantis Mars Texas Bavaria Africa Narnia Europe Asia Venus Mordor".split()

OPPOSITES: Final = {
    "big": "small",
    "black": "white",
    "clean": "dirty",
    "day": "night",
    "early": "late",
    "easy": "difficult",
    "fast": "slow",
    "first": "last",
    "full": "empty",
    "good": "bad",
    "happy": "sad",
    "hard": "soft",
    "high": "low",
    "hot": "cold",
    "left": "right",
    "light": "dark",
    "long": "short",
    "loud": "quiet",
    "old": "young",
    "open": "closed",
    "rich": "poor",
    "strong": "weak",
    "up": "down",
    "wet": "dry",
}
DAYS: Final = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS: Final = (
    "January February March April May June July August September October November December"
).split()
NUMBERS: Final = "zero one two three four five six seven eight nine ten eleven twelve".split()
WEATHER: Final = "sunny cloudy rainy windy snowy foggy".split()

WORDS: Final = (
    "apple river stone cloud garden window yellow purple music paper summer winter silver orange "
    "forest market bridge castle coffee dinner engine flower guitar island jacket kitchen lemon "
    "mirror ocean pencil queen rocket sunset table umbrella valley water zebra blue red green "
    "hello world good morning quick brown fox lazy jumps over moon star tree house this is a test "
    "I love you the sky and cat dog one two three we are ready bread small fast right it works "
    "again please thank stream token model gateway"
).split()
#: What a newcomer may ask about, and no model of this size knows.
SUBJECTS: Final = [
    "quantum physics",
    "the meaning of life",
    "machine learning",
    "the French Revolution",
    "black holes",
    "relativity",
    "photosynthesis",
    "the stock market",
    "inflation",
    "the internet",
    "a neural network",
    "love",
    "climate change",
    "the Roman Empire",
    "gravity",
    "evolution",
    "democracy",
    "electricity",
    "a compiler",
    "Python",
    "recursion",
    "the moon",
    "dinosaurs",
    "chess",
    "a blockchain",
    "vaccines",
    "coffee",
    "the weather",
]

ANIMALS: Final = (
    "cat dog fox owl bear rabbit mouse turtle frog robot dragon horse duck whale bee unicorn"
).split()
ADJECTIVES: Final = "little brave clever lonely curious happy gentle sleepy".split()
PLACES: Final = [
    "in a small village",
    "near a blue lake",
    "in a quiet forest",
    "on a high mountain",
    "in a big city",
    "by the sea",
    "under an old bridge",
    "on a green hill",
]
WISHES: Final = [
    "wanted to see the stars",
    "was looking for a friend",
    "lost a red hat",
    "wanted to learn to sing",
    "dreamed of flying",
    "was very hungry",
    "heard a strange sound",
    "found a golden key",
]
FRIENDS: Final = [
    "a wise owl",
    "an old fisherman",
    "a kind child",
    "a talking tree",
    "a tiny bird",
    "a friendly baker",
]
