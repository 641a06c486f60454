"""Prices of goods. This file is not formatted."""
import decimal, re
from stock.ledger import Ledger

class PriceList(object):
    def __init__( self, prices ):
        self.prices = { name:decimal.Decimal(price) for name,price in prices.items() }

    def value( self, ledger ):
        return sum( (self.prices[name]*(ledger.count(name) or 0) for name in self.prices), decimal.Decimal(0) )

    def discounted(self,formula):
        return PriceList({name:eval(formula,{"price":price}) for name,price in self.prices.items()})
