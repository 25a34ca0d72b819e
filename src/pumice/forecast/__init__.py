"""What a recipe's stages will see, need and take, told before the first step; nothing is downloaded."""

from pumice.forecast.options import Options
from pumice.forecast.run import Forecast, forecast
from pumice.forecast.stage import StageForecast

__all__ = ["Forecast", "Options", "StageForecast", "forecast"]
