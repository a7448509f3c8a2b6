"""Names of properties, compared by what they mean: `publishedAt`, `date_published` and `Published` are one name."""

import re
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W_A-Z\d]+|\d+")

# The first of each is what the others are read as.
_SAME = (
    ("name", "title", "headline", "heading", "productname", "itemname", "jobtitle", "pagetitle"),
    ("price", "amount", "cost", "lowprice", "saleprice", "currentprice", "priceamount", "unitprice"),
    ("currency", "pricecurrency", "currencycode"),
    ("description", "summary", "abstract", "overview", "excerpt", "teaser", "metadescription"),
    ("image", "thumbnail", "photo", "picture", "imageurl", "thumbnailurl", "img", "cover", "ogimage"),
    ("author", "authors", "byline", "creator", "writer", "postedby", "writtenby", "authorname"),
    (
        "datepublished", "published", "publishedat", "publisheddate", "publishdate", "publicationdate", "pubdate",
        "date", "publishedtime", "posted", "postedat", "posteddate", "dateposted", "datecreated", "created",
        "createdat", "uploaddate", "releasedate", "publishedon", "postedon",
    ),
    ("datemodified", "modified", "updated", "updatedat", "lastupdated", "modifiedtime", "lastmodified", "updatedon"),
    ("url", "link", "href", "permalink", "sourceurl", "canonical", "canonicalurl", "website"),
    ("brand", "manufacturer", "make"),
    ("sku", "productid", "mpn", "itemnumber", "articlenumber", "upc", "gtin", "gtin13", "ean"),
    ("ratingvalue", "rating", "stars", "score", "averagerating", "aggregaterating"),
    ("reviewcount", "ratingcount", "numberofreviews", "reviews", "numreviews", "reviewscount"),
    ("availability", "instock", "stock", "available", "stockstatus", "isavailable"),
    ("keywords", "tags", "topics", "tag"),
    ("category", "section", "articlesection", "categories"),
    ("publisher", "sitename", "source"),
    ("telephone", "phone", "phonenumber", "tel"),
    ("email", "mail", "emailaddress"),
    ("address", "streetaddress"),
    ("location", "joblocation", "place", "venue"),
    ("hiringorganization", "company", "employer", "companyname", "organization"),
    ("articlebody", "content", "body", "text", "maintext", "fulltext"),
    ("inlanguage", "language", "lang", "locale"),
    ("recipeingredient", "ingredients", "ingredient"),
    ("recipeinstructions", "instructions", "steps", "directions", "method"),
    ("recipeyield", "servings", "yield", "serves"),
    ("totaltime", "readyin"),
    ("startdate", "starts", "start", "begins", "starttime"),
    ("enddate", "ends", "end", "endtime"),
    ("isbn", "isbn13", "isbn10"),
    ("employmenttype", "contracttype", "jobtype"),
    ("basesalary", "salary", "pay", "compensation"),
    ("video", "videourl", "contenturl", "embedurl"),
)  # fmt: skip
_READ_AS = {name: group[0] for group in _SAME for name in group}
# What a name may begin with without meaning something else by it.
_OWNERS = frozenset(
    {
        "product", "article", "page", "item", "job", "event", "recipe", "book", "post", "main", "full", "current",
        "sale", "site", "story", "news", "movie", "company", "og", "entry", "card", "the", "is", "has", "total",
        "list", "blog", "content", "dc", "dcterms", "twitter", "meta",
    }
)  # fmt: skip
_ENDINGS = frozenset({"text", "value", "label", "url", "name", "color", "box", "wrapper", "inner", "container"})


@lru_cache(maxsize=20_000)
def meaning(name: str) -> str:
    """Return what a name is compared by: its letters and digits in lower case, or what it is read as."""
    plain = "".join(_words(name))
    return _READ_AS.get(plain, plain)


@lru_cache(maxsize=20_000)
def meanings(name: str) -> tuple[str, ...]:
    """Return what a name may be compared by, the closest first: `product_price` is also a `price`."""
    words = _words(name)
    found = {"".join(words): None, meaning(name): None}
    while len(words) > 1 and words[0] in _OWNERS:
        words = words[1:]
        found[meaning(" ".join(words))] = None
    while len(words) > 1 and words[-1] in _ENDINGS:
        words = words[:-1]
        found[meaning(" ".join(words))] = None
    return tuple(found)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name[:200])]
