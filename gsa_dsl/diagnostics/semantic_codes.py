"""The stable codes of semantic mistakes (from GSA020 on) and their titles. A code is never reused."""

from __future__ import annotations

UNKNOWN_NAME = "GSA020"
UNKNOWN_FUNCTION = "GSA021"
WRONG_ARITY = "GSA022"
BAD_KEYWORD = "GSA023"
NOT_A_NUMBER = "GSA024"
NOT_A_VECTOR = "GSA025"
STRAY_COMPARISON = "GSA026"
NOT_A_CONDITION = "GSA027"
SIGNATURE = "GSA028"
UNBOUND_HEAD = "GSA029"
CONSTANT_SCORE = "GSA030"
IDLE_REDUCTION = "GSA031"
FOREIGN_REDUCTION = "GSA032"
OTHER_ROWS = "GSA033"
NOT_VISIBLE = "GSA034"
VARIABLE_EXPONENT = "GSA035"
DOMAIN = "GSA036"
CROSSED_CLAMP = "GSA037"
NESTED = "GSA038"

RESERVED_NAME = "GSA040"
DUPLICATE_PARAMETER = "GSA041"
UNKNOWN_PARAMETER = "GSA042"
PARAMETER_VALUE = "GSA043"

MISSING_CAUSAL = "GSA050"
DUPLICATE_CLAUSE = "GSA051"
UNUSED_BUDGET = "GSA052"
MISSING_BUDGET = "GSA053"
MISSING_INDEXER = "GSA054"
UNUSED_INDEXER = "GSA055"
MISSING_SETTING = "GSA056"
UNKNOWN_WORD = "GSA057"
UNSUPPORTED = "GSA058"
BAD_SIZE = "GSA059"
NOTHING_FORCED = "GSA060"
CLAUSE_HEAD = "GSA061"
GATE_INPUT = "GSA062"

UNBOUNDED_BUDGET = "GSA064"
NEGATIVE_BUDGET = "GSA065"
EMPTY_BUDGET = "GSA066"
VARYING_COUNT = "GSA067"

ASSERT_SUBJECT = "GSA070"
EMPTY_INTERVAL = "GSA071"
ASSERT_UNPROVED = "GSA072"

BOUND_FORM = "GSA080"
BOUND_NEEDS_O = "GSA081"
BOUND_EXCEEDED = "GSA082"
SELECTED_EXCEEDED = "GSA083"

SCALE_AND_LOGIT = "GSA105"
CONSTANT_LOGIT = "GSA106"
UNBOUNDED_TABLE = "GSA107"
TABLE_PLACE = "GSA108"
SECOND_TABLE = "GSA109"

CAUSAL_AND_FULL = "GSA120"
BAD_MASS = "GSA121"
NO_IDENTITY = "GSA135"
TWO_PROJECTIONS = "GSA136"
GIVEN_NAME = "GSA137"
UNMET_REQUIREMENT = "GSA138"
NO_FOLDER = "GSA140"
NO_BASE = "GSA141"
ENDLESS_EXTENDS = "GSA142"
IDLE_WITHOUT = "GSA143"
BAD_UNIT = "GSA144"
MISSING_BY = "GSA145"
IDLE_BY = "GSA146"
DIAGONAL_OF_TOKENS = "GSA147"
POOL_OF_TOKENS = "GSA148"
OWN_BLOCK = "GSA149"
POOLED_LOGIT = "GSA150"
POOLED_DOCUMENTS = "GSA151"
SHARED_DOCUMENTS = "GSA152"
UNSHARED_KEYS = "GSA153"
IDLE_SIZE = "GSA154"
UNTRAINED = "GSA155"

SEMANTIC: dict[str, str] = {
    UNKNOWN_NAME: "unknown name",
    UNKNOWN_FUNCTION: "unknown function",
    WRONG_ARITY: "wrong number of arguments",
    BAD_KEYWORD: "wrong keyword argument",
    NOT_A_NUMBER: "not a number",
    NOT_A_VECTOR: "not a vector",
    STRAY_COMPARISON: "comparison outside where",
    NOT_A_CONDITION: "where without a comparison",
    SIGNATURE: "tensor indexed the wrong way",
    UNBOUND_HEAD: "indexer head left unbound",
    CONSTANT_SCORE: "score that is the same for every key",
    IDLE_REDUCTION: "reduction of something constant",
    FOREIGN_REDUCTION: "reduction that leaks",
    OTHER_ROWS: "statistic of other rows",
    NOT_VISIBLE: "not visible here",
    VARIABLE_EXPONENT: "exponent that varies",
    DOMAIN: "outside a function's domain",
    CROSSED_CLAMP: "clamp with crossed ends",
    NESTED: "nested reduction or ema",
    RESERVED_NAME: "reserved parameter name",
    DUPLICATE_PARAMETER: "parameter declared twice",
    UNKNOWN_PARAMETER: "no such parameter",
    PARAMETER_VALUE: "wrong value for a parameter",
    MISSING_CAUSAL: "neither causal nor full",
    DUPLICATE_CLAUSE: "clause given twice",
    UNUSED_BUDGET: "budget that nothing uses",
    MISSING_BUDGET: "budget is missing",
    MISSING_INDEXER: "indexer is missing",
    UNUSED_INDEXER: "indexer that chooses nothing",
    MISSING_SETTING: "indexer setting is missing",
    UNKNOWN_WORD: "unknown word",
    UNSUPPORTED: "cannot be compiled yet",
    BAD_SIZE: "not a usable size",
    NOTHING_FORCED: "always without a key",
    CLAUSE_HEAD: "wrong left-hand side",
    GATE_INPUT: "gate without an input",
    UNBOUNDED_BUDGET: "unbounded budget",
    NEGATIVE_BUDGET: "budget that may be negative",
    EMPTY_BUDGET: "budget below one key",
    VARYING_COUNT: "count that is not constant",
    ASSERT_SUBJECT: "nothing to assert about",
    EMPTY_INTERVAL: "empty interval",
    ASSERT_UNPROVED: "assertion that does not hold",
    BOUND_FORM: "bound that cannot be decided",
    BOUND_NEEDS_O: "bound without O( )",
    BOUND_EXCEEDED: "bound exceeded",
    SELECTED_EXCEEDED: "more keys selected than promised",
    SCALE_AND_LOGIT: "scale beside a logit",
    CONSTANT_LOGIT: "logit that is the same for every key",
    UNBOUNDED_TABLE: "table without an end",
    TABLE_PLACE: "table read at something else than a distance",
    SECOND_TABLE: "table read at two places",
    CAUSAL_AND_FULL: "both causal and full",
    BAD_MASS: "mass outside (0, 1]",
    NO_IDENTITY: "gate that cannot start as the identity",
    TWO_PROJECTIONS: "two projections in one gate",
    GIVEN_NAME: "unusable name of a given tensor",
    UNMET_REQUIREMENT: "requirement that is not met",
    NO_FOLDER: "extends without a folder",
    NO_BASE: "spec to extend that cannot be read",
    ENDLESS_EXTENDS: "specs that extend each other without end",
    IDLE_WITHOUT: "without that removes nothing",
    BAD_UNIT: "size that is not a power of two",
    MISSING_BY: "blocks without a score",
    IDLE_BY: "by without anything to reduce",
    DIAGONAL_OF_TOKENS: "diagonal without blocks",
    POOL_OF_TOKENS: "pooled keys without blocks",
    OWN_BLOCK: "own block that cannot be chosen",
    POOLED_LOGIT: "score that the own block does not have",
    POOLED_DOCUMENTS: "pooled keys beside documents",
    SHARED_DOCUMENTS: "runs of queries beside documents",
    UNSHARED_KEYS: "keys of kv heads, one choice for all",
    IDLE_SIZE: "size that the attention's keys have already",
    UNTRAINED: "training of the attention's own keys",
}
