"""The Faust transport: aiokafka, batched and strict."""

from faust.transport.drivers import aiokafka as driver

from marketlag.engine.consumer import Consumer, Fetcher
from marketlag.engine.producer import Producer


class Transport(driver.Transport):
    """Installed by ``engine.app.App``; Faust itself stays as it is."""

    Consumer = Consumer
    Fetcher = Fetcher
    Producer = Producer
