"""placeholder"""


def evaluation_page(found):
    return ""
