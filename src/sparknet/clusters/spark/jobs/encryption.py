"""Whether Spark encrypts what it sends between its processes: then connections beside Spark's own should be encrypted too."""

from typing import Any

__all__ = ["spark_encrypts"]


def spark_encrypts(conf: Any) -> bool:
    """Return whether Spark encrypts what it sends between its processes.

    Parameters
    ----------
    conf
        Of a session: a SparkConf, or a mapping of names to text.

    Examples
    --------
    >>> spark_encrypts({"spark.authenticate": "true", "spark.network.crypto.enabled": "true"})
    True
    >>> spark_encrypts({"spark.ssl.enabled": "true"})
    False

    Notes
    -----
    As Spark's SecurityManager has it: either TLS, whose setting is not inherited from ``spark.ssl.enabled``, or AES or SASL, which take
    effect with ``spark.authenticate`` alone.
    """
    if _is_on(conf, "spark.ssl.rpc.enabled"):
        return True
    aes, sasl = "spark.network.crypto.enabled", "spark.authenticate.enableSaslEncryption"
    return _is_on(conf, "spark.authenticate") and (_is_on(conf, aes) or _is_on(conf, sasl))


def _is_on(conf: Any, name: str) -> bool:
    return str(conf.get(name, "false")).strip().lower() == "true"
