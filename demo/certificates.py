"""Make the development CA and the certificates of the two servers' domains in var/certs/."""

from pathlib import Path

from jabberd.certificates import development_certificates

FOLDER = Path(__file__).resolve().parent.parent / "var" / "certs"
DOMAINS = ("montague.lit", "capulet.lit")
SERVICES = ("rooms.montague.lit",)

if __name__ == "__main__":
    development_certificates(FOLDER, DOMAINS + SERVICES)
