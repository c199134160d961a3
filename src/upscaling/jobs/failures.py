"""Which class a platform's complaint belongs to.

What is done about each class stands in `upscaling.jobs.remedies`. No data, where the platform's log says that nothing
was found, is a success without assets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from upscaling.errors import ErrorClass
from upscaling.http.transport import status_class

__all__ = ["classify_http", "classify_log", "is_no_data", "without_particulars"]

_QUOTA_CODES = {"PaymentRequired", "BudgetInvalid", "CreditsInsufficient", "StorageQuotaExceeded"}
_BUSY_CODES = {"ConcurrentJobLimit", "TooManyRequests"}  # whatever the status that they come with
_TRANSIENT_CODES = {"ServiceUnavailable", "Internal", "Timeout"}  # but not with a status of 4xx: that is a refusal
_GATEWAY_STATUS = {404}  # without an openEO error code it is a proxy's answer, and says nothing of the job
_BETWEEN = " | "  # the error entries of a log, where they are one text
_THINGS = (
    r"(?:data ?cubes?|cubes?|{}(?:input )?(?:data|products?|items?|images?|imagery|scenes?|features?"
    r"|granules?|acquisitions?|observations?|tiles?))\b(?! ?['\"`]| (?:types?|files?|values?|access|sets?|sources?"
    r"|formats?|models?|stores?|registr|of type)\b)"
)
_HOLDERS = _THINGS.format("(?:feature ?)?collections?|")  # what may be empty; where none is found, its name is wrong
_THINGS = _THINGS.format("")


def _any_of(words: Mapping[str, str]) -> re.Pattern[str]:
    """Return one pattern of several; the keys say whose words they are."""
    return re.compile("|".join(words.values()), re.IGNORECASE)


_MEMORY = _any_of(
    {
        "many": r"out ?of ?memory|memory limit|memoryerror|\brequires? more memory\b"
        r"|(?<!requested )\btoo (?:much|little) (?:[\w-]+ ){0,3}memory"
        r"|\b(?:not enough|insufficient) (?:(?:[\w-]+ ){0,3}memory|RAM\b)|\b(?:ran|run|running) out of (?:RAM|swap)\b"
        r"|\bexceed\w* (?:[\w.-]+ ){0,6}memory|\bmemory (?:\w+ ){0,4}(?:exceeded|reached)\b",
        "Spark, JVM": r"java heap space|gc overhead limit|direct buffer memory"
        r"|\b(?:increas|rais)\w*[^|]{0,60}executor-memory",
        "C++, Rust": r"bad_alloc|\bbad allocation\b|\bmemory allocation of \d+ \w+ failed",
        "numpy, CUDA": r"\b(?:can ?not|can't|could not|unable to|failed to) (?:re)?allocate"
        r" (?:\w+ ){0,2}?(?:memory|arrays?|buffers?|tensors?|[\d.]+ ?(?:bytes|[kmgt]i?b))\b",
        "Linux": r"\boom\b|\boom[-_ ]?kill|\bkilled process \d+|\bSIGKILL\b|\bsignal:? (?:9\b|killed\b)"
        r"|\bexit(?:ed)?(?: with)?(?: code| status)?:? \(?137\b|\b(?:return|exit)[ -]?(?:code|status):? ?-9\b",
        "LSF, PBS": r"\bTERM_MEMLIMIT\b|\bmem(?:ory)?[ _](?:usage|limit|use) exceed\w*"
        r"|\bmem(?:ory)?(?:[ _]usage)? \S+ (?:is above|exceed\w*|over) (?:the )?limit\b",
        "Dask": r"\b\d+ ?% memory budget\b|\bKilledWorker\b",
    }
)
# A platform's own trouble. Not "executor lost": that is most often the job's own hunger for memory.
_LOST = _any_of(
    {
        "the embedded back-end": r"\bBackendDied\b",
        "YARN": r"\blost\*? node\b|\bpre-?empt(?:ed|ion)\b",  # exit status -100, -102
        "Spark": r"\bexited unrelated to the running tasks\b|\bdecommission(?:ed|ing)?\b",
        "Slurm": r"\bnode[ _-]?(?:fail(?:ure|ed)?|lost)\b|\bBOOT_FAIL\b"
        r"|\bnode \S{0,80} ?(?:was|is|has been) (?:lost|preempted|drained|shut ?down|terminated)\b",
        "Kubernetes": r"\bimminent node shutdown\b|\bnode is shutting down\b|\bNoExecute\b"
        r"|\bpod\b.{0,120}\bevicted\b|\bnode was low on resource\b",
        "clouds": r"\bspot (?:instance )?(?:interruption|termination)\b"
        r"|\bspot instance (?:was |is |has been )?(?:reclaimed|lost)\b",
    }
)
_NO_DATA = _any_of(
    {
        "no products found": rf"\bno (?!such\b)(?:[\w-]+ ){{0,3}}?(?:{_THINGS}|results) (?:\w+ ){{0,2}}?"
        r"(?:is |are |was |were |has been |have been )?(?:\w+ )?"
        r"(?:available|found|exists?|left|returned|matching|match(?:es|ed)?|intersect\w*|overlap\w*)\b"
        rf"|\bno (?:matching|intersecting|overlapping) {_THINGS}|^\W*no data\W*$",
        "STAC: 0 items": rf"\b(?:found|finds?|returned|there (?:is|are|was|were)|contains?|has|have|with) (?:no|zero|0)"
        rf" (?:\w+ )?(?:{_THINGS}|results?\b)"
        rf"|\b(?:zero|0|no) (?:matching |valid |suitable )?{_THINGS} (?:in|for|within|over|at|during) the\b"
        rf"|\b(?:zero|0) (?:\w+ )?(?:{_THINGS}|results) (?:were |are )?(?:available|found|returned|match\w*)\b",
        "openEO: did not find": rf"\b(?:could not|cannot|did not|unable to) find (?:any )?(?:\w+ )?{_THINGS}"
        r" (?:for|in|within|that|over)\b",
        "no overlap": rf"\b(?:does|do|did) not (?:intersect|overlap)(?: with)? any (?:[\w-]+ ){{0,2}}?{_THINGS}",
        "openEO: empty": rf"\bempty (?:(?:image|feature|vector|raster|input) ?)?{_HOLDERS}"
        rf"|\b{_HOLDERS} (?:is|are|was|were) empty\b(?! (?:string|text|list))",
        "rasters": r"(?<!not )\ball (?:\w+ ){0,2}?(?:pixels?|cells?) (?:are|were|is|was) no[ -]?data\b",
    }
)
# What is said where something else is the reason.
_NOT_THE_REASON = _any_of(
    {
        "a job that went on": r"\b(?:skip|ignor|continu|warn|retry)\w*|\bfall(?:ing|s)? ?back",
        "a user's own code": r"\bUDFs?\b|\buser[- ]defined\b|\btraining\b",
        "who refuses a value": r"\bno[ -]?data value|\bexpected\b|\bmust\b|\binvalid\b|\bunknown\b|\bdid you mean\b"
        r"|\bvector file\b|\buploaded\b|\bgiven geometr\w+|\bfor process\b",
        "who lets nobody in": r"\bcredentials\b|\bpermission\b|\b(?:un|not )authori[sz]ed\b|\bforbidden\b|\bdenied\b"
        r"|\bexpired\b|\btokens?\b|\bquota\b|\brefused\b|\brate limit\w*",
        # a search that did not work has found nothing
        "a server": r"\bunavailable\b|\bmaintenance\b|\b(?:is|are|was|were) down\b|\bdown:|\btry again\b"
        r"|\bbad (?:gateway|request)\b|\bempty response\b|\b(?:internal|server) error\b"
        r"|\b(?:HTTP(?:/[\d.]+)?|status(?: code)?|code|error|answer\w*|(?:answer|fail|respond)\w* with|got):?"
        r" ?[45]\d\d\b",
        "the way to it": r"\btime[d ]?[- ]?out\b|\b(?:un|not )reachable\b|\bbe reached\b|\bconnect(?:ion|ed|ing)?\b"
        r"|\bSSL\b|\bproxy\b|\bDNS\b",
        # a product that is not online is there
        "an archive": r"\boffline\b|\border (?:it|them|the)\b|\bplease order\b",
        "a node": r"\bImagePull\w*|\bErrImage\w*|\bregistry\b|\bdisk\b|\bspace left\b|\bnot found, no data\b",
        "Python": r"\b(?:FileNotFound|Key|Type|Index|Attribute|Name|Import|ModuleNotFound|Permission|Connection|Timeout"
        r"|IO|OS|HTTP)Error\b",
    }
)
# What a platform writes when a job has ended, whatever the reason.
_OF_ANY_JOB = _any_of(
    {
        "many": r"^\W*(?:(?:your |the |openeo )*(?:batch )?job\b.{0,60}\b(?:failed|aborted|ended|in error|exit\w*)"
        r"|(?:process |container |main |command )*exit(?:ed)?\b.{0,40}\b(?:code|status)\b|task failed"
        r"|traceback|stack ?trace|error(?: code)?|failed)"
        r"(?:\W+(?:with|exit|code|status|id|\d+|j-[\w-]+|[0-9a-f-]{8,}))*\W*$",
        "openEO": r"\bsee (?:the )?(?:job )?logs?\b|\bcontact (?:the )?support\b",
    }
)
# A user's own code that failed for another reason may speak of memory, too: the embedded back-end knows it, and others
# quote the error.
_OWN_CODE = re.compile(
    r"^\W*UdfFailed\b|^(?>.*?\bUDFs?\b).*"  # from the first mention alone: a log may have a megabyte of them
    r"\b(?:Assertion|Attribute|Import|Index|Key|ModuleNotFound|Name|NotImplemented|Type|Value)Error\b",
    re.IGNORECASE | re.DOTALL,
)
# Codes of errors, where upper and lower case count.
_NO_DATA_CODE = re.compile(
    r"(?:NO_DATA|no_data)_(?:AVAILABLE|FOUND|available|found)"
    r"|No_?(?:Input|Such)?_?(?:Data|Items|Features|Products|Images|Scenes|Granules)(?:Available|Found)?(?:Error|Exception)?"
    r"|(?:DataCube|Cube|Collection|ImageCollection)(?:Is)?Empty(?:Error|Exception)?"
    r"|Empty(?:Data)?(?:Cube|Collection|ImageCollection)(?:Error|Exception)?"
)
_MEMORY_ERROR = re.compile(r"\b\w*(?:MemoryError|OutOfMemory\w*)\b")
_TRACE = re.compile(r"\b(?:traceback|stack ?trace)\b|\bFile \"|\sat [\w$.]+\(", re.IGNORECASE)
_RAISED = re.compile(r"(?:^|[\s.:'\"(])([A-Za-z]\w+)(?:[:(]|$)")


def classify_http(status: int | None, code: str | None) -> ErrorClass:
    """Return the class of a refused request, from the HTTP status and the openEO error code (API 1.2, errors.json)."""
    if code in _BUSY_CODES or (code is None and status in _GATEWAY_STATUS):
        return ErrorClass.TRANSIENT
    if code in _TRANSIENT_CODES and (status is None or status >= 500):
        return ErrorClass.TRANSIENT
    if code in _QUOTA_CODES:
        return ErrorClass.QUOTA
    return ErrorClass.PERMANENT if status is None else status_class(status)


def classify_log(text: str) -> ErrorClass:
    """Return the class of a job that the platform ended in error, from the error entries of its log."""
    if any(_MEMORY.search(entry) for entry in text.split(_BETWEEN) if not _is_own_code(entry)):
        return ErrorClass.MEMORY
    return ErrorClass.LOST if _LOST.search(text) else ErrorClass.PERMANENT


def _is_own_code(entry: str) -> bool:
    return bool(_OWN_CODE.search(entry)) and (entry.startswith("UdfFailed") or not _MEMORY_ERROR.search(entry))


def is_no_data(text: str) -> bool:
    """Return whether a job's error entries say that there was nothing to process: a result, not a fault.

    That is so if the last entry that says something says it, and none tells of another end. A line about something that
    was skipped is not, nor what a user's own code (UDF) says.

    Parameters
    ----------
    text
        The error entries of the log, in order, with `` | `` between them.
    """
    if classify_log(text) is not ErrorClass.PERMANENT:
        return False
    entries = [entry for entry in text.split(_BETWEEN) if entry.strip()]
    telling = [entry for entry in entries if _NO_DATA.search(entry) or not _OF_ANY_JOB.search(entry.strip())]
    return bool(telling) and _says_no_data(telling[-1])


def _says_no_data(entry: str) -> bool:
    if re.search(r"\bUDFs?\b|user[- ]defined", entry, re.IGNORECASE):
        return False
    words = _TRACE.split(entry, maxsplit=1)[0]  # a trace is a program's own
    raised = _RAISED.findall(entry)
    if any(_NO_DATA_CODE.fullmatch(name) for name in raised) or _NO_DATA_CODE.fullmatch(
        entry.strip().partition(" ")[0]
    ):
        odd = r"\bskip\w*|\bignor\w*|\bcontinu\w*|\bno[ -]?data values?\b|\bmust\b|\binvalid\b"
        return not re.search(odd, words, re.IGNORECASE)
    return bool(_NO_DATA.search(words)) and not _NOT_THE_REASON.search(words)


_PARTICULARS = re.compile(
    r"\b[0-9a-f]{8,}\b|\bj-\S+|\d+(\.\d+)?|\S{0,300}/\S*"
)  # ids, numbers and paths differ from tile to tile


def without_particulars(reason: str) -> str:
    """Return a reason without what is different for each tile, so that like can be counted with like."""
    return _PARTICULARS.sub("…", reason)
