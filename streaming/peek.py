"""A look at the newest messages of a topic, for whoever does not know yet what is in them. Nothing
is committed, and no group is joined.
"""

from streaming import bounded
from streaming.topics import look_at
from twintide.config import KafkaConfig

SILENT_SECONDS = 10.0
"""So long without a message before the end, and the look is given up."""


def newest(kafka: KafkaConfig, *, count: int) -> list[bytes]:
    """The values of about `count` messages, or of all that there are: as many of each partition,
    its newest. Raises Refused where there is no such topic, Retryable where nobody answers.
    """
    look_at(kafka, hint="`--topic` names one that your events are sent to")
    with bounded.consumer(kafka) as reader:
        places = bounded.places_of(reader, kafka.topic)
        begins, ends = reader.beginning_offsets(places), reader.end_offsets(places)
        reader.assign(places)
        for each in places:
            reader.seek(each, max(begins[each], ends[each] - -(-count // len(places))))
        messages = bounded.messages_until(reader, ends, silent_seconds=SILENT_SECONDS)
        return [each.value for each in messages if each.value is not None][:count]
