"""The 80 object categories of COCO and the words by which captions mention them.

As the CHAIR metric does (Rohrbach et al., Object Hallucination in Image Captioning, 2018), captions
are read for the categories' names and for common other words for them.
"""

from __future__ import annotations

from functools import cache

from dsa_env.datasets.mentions import Mention, Mentions

OTHER_WORDS: dict[str, str] = {
    "person": "adult, athlete, baby, baker, batter, bicyclist, biker, boy, bride, businessman, "
    "catcher, chef, child, cop, couple, cowboy, crowd, customer, cyclist, dad, dancer, doctor, "
    "driver, employee, family, farmer, father, female, fireman, firefighter, fisherman, friend, "
    "gentleman, girl, girlfriend, goalie, grandmother, groom, guy, human, infant, jockey, kid, "
    "lady, little one, male, man, mom, mother, motorcyclist, musician, officer, passenger, "
    "pedestrian, performer, pitcher, player, policeman, policewoman, rider, runner, sailor, "
    "shopper, skateboarder, skater, skier, snowboarder, soldier, spectator, student, "
    "surfer, swimmer, teen, teenager, toddler, tourist, traveler, umpire, vendor, waiter, "
    "waitress, woman, worker, youngster",
    "bicycle": "bike, tricycle, trike, unicycle",
    "car": "automobile, cab, convertible, coupe, hatchback, jeep, limo, limousine, minivan, "
    "sedan, station wagon, suv, taxi, taxicab, van",
    "motorcycle": "dirt bike, moped, motor bike, motor cycle, motorbike, scooter",
    "airplane": "aeroplane, air plane, aircraft, airliner, biplane, jet, jetliner, plane, seaplane",
    "bus": "double decker, minibus",
    "train": "caboose, locomotive, steam engine, subway car, train car, tram",
    "truck": "dump truck, fire engine, firetruck, lorry, pickup, semi, tow truck",
    "boat": "barge, canoe, catamaran, dinghy, ferry, gondola, houseboat, kayak, motorboat, "
    "rowboat, sailboat, ship, speedboat, tugboat, yacht",
    "traffic light": "stop light, stoplight, traffic signal",
    "fire hydrant": "hydrant",
    "stop sign": "",
    "parking meter": "",
    "bench": "pew",
    "bird": "cockatoo, crow, dove, duck, duckling, eagle, egret, falcon, finch, flamingo, goose, "
    "gosling, gull, hawk, hen, heron, hummingbird, macaw, mallard, ostrich, owl, parakeet, "
    "parrot, peacock, pelican, penguin, pigeon, robin, rooster, seabird, seagull, sparrow, "
    "stork, swan, toucan, vulture, woodpecker",
    "cat": "feline, kitten, kitty, tabby",
    "dog": "beagle, bulldog, canine, chihuahua, collie, corgi, dachshund, doggie, doggy, "
    "german shepherd, greyhound, hound, labrador, poodle, pug, pup, puppy, retriever, sheepdog, "
    "spaniel, terrier",
    "horse": "colt, foal, pony, racehorse, stallion",
    "sheep": "ewe, goat, lamb, ram",
    "cow": "bison, buffalo, bull, calf, cattle, heifer, longhorn, ox",
    "elephant": "",
    "bear": "cub, grizzly, panda",
    "zebra": "",
    "giraffe": "",
    "backpack": "back pack, book bag, bookbag, knapsack, rucksack",
    "umbrella": "parasol",
    "handbag": "briefcase, hand bag, purse, wallet",
    "tie": "bow tie, bowtie, necktie",
    "suitcase": "baggage, luggage, suit case",
    "frisbee": "flying disc, flying disk",
    "skis": "ski",
    "snowboard": "snow board",
    "sports ball": "ball",
    "kite": "",
    "baseball bat": "bat",
    "baseball glove": "mitt",
    "skateboard": "skate board",
    "surfboard": "boogie board, longboard, surf board",
    "tennis racket": "racket, racquet",
    "bottle": "",
    "wine glass": "champagne glass, glass of red wine, glass of white wine, glass of wine, "
    "wineglass",
    "cup": "mug, teacup",
    "fork": "",
    "knife": "",
    "spoon": "",
    "bowl": "",
    "banana": "",
    "apple": "",
    "sandwich": "burger, cheeseburger, hamburger, panini",
    "orange": "",
    "broccoli": "",
    "carrot": "",
    "hot dog": "hotdog",
    "pizza": "",
    "donut": "bagel, doughnut",
    "cake": "cheesecake, cup cake, cupcake, shortcake",
    "chair": "armchair, seat, stool",
    "couch": "futon, loveseat, sofa",
    "potted plant": "house plant, houseplant, pot plant, potted flower, potted tree",
    "bed": "",
    "dining table": "desk, table",
    "toilet": "commode, potty, toilet bowl, toilet seat, urinal",
    "tv": "flat screen, monitor, t v, television",
    "laptop": "macbook, netbook, notebook computer",
    "mouse": "",
    "remote": "remote control, wii controller, wiimote",
    "keyboard": "",
    "cell phone": "cellphone, iphone, phone, smartphone, telephone",
    "microwave": "microwave oven",
    "oven": "stove, stove top, stovetop, toaster oven",
    "toaster": "",
    "sink": "",
    "refrigerator": "freezer, fridge",
    "book": "",
    "clock": "",
    "vase": "",
    "scissors": "",
    "teddy bear": "stuffed bear, teddy, teddybear",
    "hair drier": "blow dryer, hair dryer, hairdrier, hairdryer",
    "toothbrush": "tooth brush",
}
"""Category -> other words for it, singular, parted by commas."""

CATEGORIES = tuple(OTHER_WORDS)

_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
_YOUNG_OR_OLD = (
    "adult", "adult and baby", "baby", "father", "female", "infant", "male", "mother",
    "mother and baby", "toddler",
)  # fmt: skip

# Other things whose names hold a category's.
_OTHER_THINGS = """
    apple computer, apple juice, apple laptop, apple logo, apple pie, apple sauce, apple tree,
    banana leaf, banana tree, bed of, bed room, bed spread, bench press, bicycle seat, bike
    rack, bike seat, bird bath, bird cage, bird feeder, bird house, bird seed, boat dock, boat
    house, boat ramp, book case, book shelf, book store, bottle cap, bottle opener, bus depot,
    bus lane, bus shelter, bus station, bus stop, cake pan, cake stand, car park, car wash, cat
    food, cat litter, cd player, chair lift, couple of, cow boy hat, cup board, cup holder, dog
    food, dog house, dog leash, dog park, duck tape, dvd player, flower bed, fork lift, horse
    racing, horse riding, its baby, its mother, jet ski, kite board, kite boarding, kite
    surfing, knife block, microwave safe, mouse pad, music player, orange juice, oven mitt,
    parking lot, phone booth, phone number, piano keyboard, pitcher of, pizza box, pizza cutter,
    pizza hut, pizza oven, pizza pan, pizza parlor, pizza place, pizza shop, railroad tie,
    record player, remote area, remote controlled, remote location, river bed, seat belt, sink
    hole, ski area, ski boot, ski course, ski gear, ski goggles, ski hill, ski jacket, ski jump,
    ski lift, ski lodge, ski mask, ski outfit, ski pants, ski pole, ski resort, ski run, ski
    slope, ski suit, ski trail, skies, table cloth, table lamp, table runner, table tennis,
    table top, tie dye, tie dyed, toilet brush, toilet paper, toilet roll, toilet tissue, train
    depot, train platform, train station, train track, train yard, truck bed, truck stop, tv
    show, tv stand, tv station
"""

# "orange" is a fruit after one of the first words and before one of the others (or at the end),
# as in "an orange and an apple"; elsewhere, as in "orange and white", it is a colour.
_COLORS = "beige black blue brown gray green grey pink purple red silver tan white yellow"
_BEFORE_FRUIT = """
    a an and cut fresh half of one peeled ripe single sliced that the this whole
"""
_AFTER_FRUIT = """
    and are as at being beside cut has hanging in inside into is it near next of on or peel placed
    segment segments sits sitting slice sliced slices that to tree wedge wedges which with
"""


def _names() -> dict[str, str]:
    """Every name that is looked for -> its category, "" for other things."""
    names = dict.fromkeys((name.strip() for name in _OTHER_THINGS.split(",")), "")
    for category, others in OTHER_WORDS.items():
        for name in (category, *filter(None, others.split(", "))):
            names[name] = category
            if category in _ANIMALS:
                names |= {f"{age} {name}": category for age in _YOUNG_OR_OLD}
    return names


class CocoMentions(Mentions):
    """Finds COCO's categories in captions; tells the fruit orange from the colour."""

    def find_in(self, told: list[str]) -> list[Mention]:
        """Each mention in a text's words, its meaning one of `CATEGORIES`."""
        return [
            mention
            for mention in super().find_in(told)
            if mention.name != "orange" or self._is_fruit(told, mention.start)
        ]

    @staticmethod
    def _is_fruit(told: list[str], place: int) -> bool:
        two_before, before = ["", "an", *told[:place]][-2:]
        after, two_after = [*told[place + 1 : place + 3], "is", ""][:2]
        colors = _COLORS.split()
        if (before == "and" and two_before in colors) or (after == "and" and two_after in colors):
            return False
        return before in _BEFORE_FRUIT.split() and after in _AFTER_FRUIT.split()


@cache
def coco_mentions() -> CocoMentions:
    """The finder of COCO's categories in captions; made once."""
    return CocoMentions(_names())
