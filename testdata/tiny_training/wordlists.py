"""The words and facts that the tasks draw from. Plain constants, no code."""

# ruff: noqa: SIM905 (word lists read best as words)

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
    "Portugal": "Lisbon", "Austria": "Vienna", "Greece": "Athens", "Poland": "Warsaw",
    "Hungary": "Budapest", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki",
    "Denmark": "Copenhagen", "Ireland": "Dublin", "Belgium": "Brussels", "England": "London",
    "Russia": "Moscow", "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi",
    "Morocco": "Rabat", "Ghana": "Accra", "Nigeria": "Abuja", "Japan": "Tokyo",
    "China": "Beijing", "India": "Delhi", "Thailand": "Bangkok", "Vietnam": "Hanoi",
    "Iran": "Tehran", "Iraq": "Baghdad", "Nepal": "Kathmandu", "Canada": "Ottawa",
    "Cuba": "Havana", "Peru": "Lima", "Chile": "Santiago", "Brazil": "Brasilia",
    "Colombia": "Bogota", "Ecuador": "Quito", "Australia": "Canberra", "Ukraine": "Kyiv",
}  # fmt: skip

CITIES = (
    *CAPITALS.values(),
    *"Boston Chicago Denver Seattle Toronto Munich Milan Geneva Zurich Porto Lyon Sydney".split(),
    *"Mumbai Osaka Shanghai Lagos Dubai Miami Dallas Austin Hamburg Naples Venice Leeds".split(),
    "New York", "Los Angeles", "San Francisco", "Cape Town", "Hong Kong", "Buenos Aires",
)  # fmt: skip

NAMES = tuple(
    (
        "Ana Ben Carl Dora Emma Felix Greta Hugo Iris Jack Kate Leo Mia Nora Oscar Paul Quinn Rosa "
        "Sam Tina Uma Victor Wendy Xena Yara Zoe Alice Bob Clara David Elena Frank Grace Henry Ivan "
        "Julia Kevin Laura Mark Nina Oliver Peter Rita Simon Tom Ursula Vera Walter Yusuf Zara Adam "
        "Bella Chloe Daniel Eva Fiona George Hanna Ian Jonas Karl Lena Marta Noah Olga Priya Ravi "
        "Sara Theo Ulrich Violet Will Yuki Abel Bruno Cora Dario Edith Fatima Gloria Hassan Ingrid "
        "Jamal Kira Luca Maria Nadia Omar Pablo Ruth Sofia Tariq Viktor Wanda Alan Ada Max Lily"
    ).split()
)

WORDS = tuple(
    (
        "stone river house garden winter summer spring autumn flower candle window mirror bridge "
        "castle forest island desert valley mountain ocean thunder shadow silver golden copper iron "
        "paper pencil letter basket bottle button ribbon hammer ladder engine wheel anchor bread "
        "butter cheese apple lemon orange banana cherry grape melon peach pepper potato tomato onion "
        "carrot garlic sugar honey coffee water juice milk soup salad dinner lunch breakfast kitchen "
        "table chair couch pillow blanket carpet curtain lamp clock phone radio camera guitar piano "
        "violin drum flute song dance music story poem book page chapter author school teacher "
        "student lesson number circle square triangle line point color yellow purple green blue red "
        "black white brown pink gray cat dog fox owl bear wolf lion tiger horse mouse rabbit turtle "
        "monkey donkey camel goat sheep duck goose eagle robin snake frog fish whale shark crab bee "
        "ant spider planet star moon sun cloud storm rain snow wind fire smoke light dark night day "
        "morning evening week month year hour minute second today friend brother sister mother "
        "father uncle cousin baby child doctor farmer baker pilot sailor driver singer painter king "
        "queen prince knight dragon wizard giant market street corner village city town country "
        "world train plane boat ship truck wagon rocket road path door gate wall roof floor stair "
        "tower church hotel office store bank park field farm barn beach lake pond hill cave mine "
        "hand foot head face nose mouth ear eye arm leg knee neck back heart bone skin hair smile "
        "laugh voice word name dream hope love peace truth power magic secret gift prize game ball "
        "toy doll kite puzzle card coin money gold coat shirt dress shoe hat glove scarf sock belt "
        "pocket purse ring crown jewel glass plate spoon fork knife cup bowl oven stove fridge soap "
        "towel brush comb needle thread cotton wool leather wood metal plastic rubber sand clay "
        "fast slow big small tall short long wide deep high low hot cold warm cool soft hard smooth "
        "rough sweet sour salty bitter fresh clean dirty empty full open close early late young old "
        "happy sad angry brave quiet loud gentle clever silly lazy busy simple strong weak rich poor"
    ).split()
)

SUBJECTS = (
    "cat dog fox owl bear wolf lion tiger horse mouse rabbit turtle monkey donkey camel goat "
    "sheep duck goose eagle robin snake frog fish whale crab bee spider dragon robot"
).split()

REVIEW_THINGS = (
    "food room film phone book hotel service soup music story game camera bed show coffee staff "
    "view song table garden"
).split()
GOOD = "great good lovely excellent wonderful amazing nice perfect fantastic superb tasty delightful".split()
BAD = "bad awful terrible horrible poor boring dirty broken dreadful nasty disappointing useless".split()
DEGREES = ("", "", "very ", "really ", "so ", "quite ", "just ")
GOOD_ENDINGS = (
    "I loved it.", "I will come back.", "Highly recommended.", "I am happy.", "Five stars.",
    "I enjoyed every minute.", "Best day ever.", "Thank you so much.",
)  # fmt: skip
BAD_ENDINGS = (
    "I hated it.", "I will not come back.", "Not recommended.", "I am angry.", "One star.",
    "I want my money back.", "Worst day ever.", "What a waste of time.",
)  # fmt: skip

SYSTEM_PROMPTS = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are helpful.",
    "You are a helpful, honest assistant.", "Answer briefly.", "Be brief.", "Be short and exact.",
    "You are a small model.", "You answer questions.", "You are a test assistant.",
    "You are a friendly assistant. Answer in one line.", "Reply in English.",
)  # fmt: skip
