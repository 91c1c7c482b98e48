"""Settings with a password in each of them."""

PASSWORD = "hush-hush"
SECRET_SETTINGS = {
    "database_url": f"postgresql://visavis:{PASSWORD}@127.0.0.1:1/visavis",
    "broker_url": f"redis://:{PASSWORD}@127.0.0.1:1/0",
    "storage_url": f"s3://bucket/visavis?endpoint_url=https://key:{PASSWORD}@127.0.0.1:1",
    "signing_secret": PASSWORD,
    "previous_signing_secret": PASSWORD,
    "sign_key": PASSWORD,
    "watermark_key": f"{PASSWORD}, sixteen characters",
}
