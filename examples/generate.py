#!/usr/bin/env python3
"""Writes examples/conversations.jsonl: traffic of an imaginary small company, made for this project.

    examples/generate.py           writes the file
    examples/generate.py --check   compares it with what would be written; 1 if it differs

The text is made of our own sentences. What is real about it is the repetition: an agent with a long
system prompt and tools, chats that are logged once for every request, so that each line repeats the
one before it, a retrieval template with passages that come back, a classifier whose prompts differ
in one line, several languages, code, content parts, token ids instead of text, and the fields that
platforms put beside messages. The output is the same on every machine: the only source of chance is
random.Random(seed).random(), whose values Python promises not to change.
"""

import base64
import json
import pathlib
import random
import re
import sys

OUTPUT = pathlib.Path(__file__).resolve().parent / "conversations.jsonl"
START_S = 1_767_607_200  # Monday, 5 January 2026, 10:00 UTC


class Dice:
    """Choices made from random() alone."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def below(self, limit):
        return int(self._random.random() * limit)

    def between(self, first, last):
        return first + self.below(last - first + 1)

    def pick(self, items):
        return items[self.below(len(items))]

    def some(self, items, count):
        left, taken = list(items), []
        for _ in range(count):
            taken.append(left.pop(self.below(len(left))))
        return taken

    def hex(self, digits):
        return "".join(self.pick("0123456789abcdef") for _ in range(digits))

    def uuid(self):
        h = self.hex(32)
        return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def number(text):
    """A JSON number that is to be written just so, such as 1e-3."""
    return f"@number:{text}"


def line(conversation):
    text = json.dumps(conversation, ensure_ascii=False, separators=(",", ":"))
    return re.sub(r'"@number:([^"]*)"', r"\1", text)


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


# --- 1. A ferry line's booking agent, with tools -------------------------------------------------

FERRY_POLICY = """You are the booking agent of Nordlicht Ferries. You help travellers with existing \
bookings: you look them up, move them to another departure, cancel them and explain what a ticket \
allows. You do not sell new tickets; for those, name the booking page and stop.

# How to work

- Ask for the booking reference first. It has two letters and five digits, such as KD40718. A name \
or an address alone is not enough to show a booking to anyone.
- Look the booking up before you promise anything. What the traveller remembers is often wrong, and \
so is what you remember from another conversation.
- Before a change or a cancellation, say in one or two sentences what will happen and what it will \
cost, and wait until the traveller agrees. "Yes" to an earlier question does not count.
- Call one tool at a time, and never together with a reply. After a tool has answered, use its \
answer; do not repeat the call with the same arguments.
- If a tool reports an error, tell the traveller what you could not do and offer to hand the \
conversation to a colleague. Never guess a departure, a price or a seat.

# Fares

- Sail Saver: may be moved once, up to 24 hours before departure, for a fee of 15 euros. Not \
refundable, except when the line cancels the departure.
- Sail Standard: may be moved as often as wished until 2 hours before departure without a fee. \
Cancelled up to 24 hours before departure it is refunded at 80 percent, later at 50 percent.
- Sail Flex: may be moved and cancelled until departure without a fee. The full price is refunded.
- When a departure is cancelled by the line or is late by more than 90 minutes, every fare may be \
moved without a fee or refunded in full, whichever the traveller prefers.

# Vehicles and animals

- A vehicle belongs to the booking and moves with it. If the new departure has no room on the car \
deck, say so before anything else and offer the next one that has.
- Bicycles travel free. Dogs travel free on deck and for 12 euros in a pet cabin. Guide dogs travel \
everywhere and never cost anything.

# Tone

Write as a friendly clerk who has time: short sentences, no exclamation marks, no headings, no \
lists of more than three points. Use the traveller's language. Times are local times of the port of \
departure; write them as 14:30. Today is Monday, 5 January 2026."""

FERRY_TOOLS = [
    {"type": "function", "function": {
        "name": "find_booking", "description": "Looks up a booking by its reference.",
        "parameters": {"type": "object", "properties": {
            "reference": {"type": "string", "description": "Two letters and five digits."}},
            "required": ["reference"]}}},
    {"type": "function", "function": {
        "name": "list_departures", "description": "Departures of a route on a day, with free room.",
        "parameters": {"type": "object", "properties": {
            "route": {"type": "string"}, "day": {"type": "string", "description": "YYYY-MM-DD"}},
            "required": ["route", "day"]}}},
    {"type": "function", "function": {
        "name": "move_booking", "description": "Moves a booking to another departure.",
        "parameters": {"type": "object", "properties": {
            "reference": {"type": "string"}, "departure": {"type": "string"}},
            "required": ["reference", "departure"]}}},
    {"type": "function", "function": {
        "name": "cancel_booking", "description": "Cancels a booking and pays back what is due.",
        "parameters": {"type": "object", "properties": {"reference": {"type": "string"}},
                       "required": ["reference"]}}},
]
ROUTES = ["Kiel-Oslo", "Travemunde-Trelleborg", "Rostock-Gedser", "Puttgarden-Rodby",
          "Sassnitz-Ystad", "Hirtshals-Larvik"]
SHIPS = ["Aurora", "Seeadler", "Polarstern II", "Marta", "Havfrue", "Silberwal"]
FIRST_NAMES = ["Ingrid", "Tomasz", "Leila", "Jonas", "Mei", "Pavel", "Amara", "Sofia", "Henrik",
               "Noor", "Giulia", "Daniel", "Yuki", "Katarina", "Oluwaseun", "Mateo"]
FAMILY_NAMES = ["Lindqvist", "Nowak", "Haddad", "Becker", "Chen", "Novotny", "Okafor", "Marques",
                "Solberg", "de Vries", "Ferrari", "Cohen", "Tanaka", "Horvat", "Adeyemi", "Rojas"]
OPENINGS = [
    "Hello, I need to change my crossing. The reference is {ref}.",
    "Hi. My plans have shifted by a day or so, could you look at booking {ref} for me?",
    "Good morning, {ref} here. I would like to know what my ticket allows before I decide.",
    "{ref}, please. We will not make it to the harbour in time.",
    "My daughter has a fever and we cannot travel as planned. The booking is {ref}. What can we do?",
    "I booked the wrong day by mistake, sorry. Reference {ref}. Can this be put right?",
    "We are three people with a car, booking {ref}. Is there anything earlier that day?",
]
MOVE_REPLIES = ["Yes, please do.", "That works for us, go ahead.", "Fine with me, please move it.",
                "Agreed. And thank you for being quick.", "Yes. We would rather wait than hurry."]
CANCEL_REPLIES = ["Then cancel it, please.", "I understand. Please cancel.",
                  "A pity, but yes, cancel the booking.", "All right, go ahead with it."]
THANKS = ["Thank you, that was easy.", "Great, that is all.", "Thanks. Have a calm shift.",
          "Perfect, see you on board.", "That helps a lot, thank you."]
FAREWELLS = ["You are welcome. Have a good crossing.", "Gladly. We look forward to seeing you.",
             "With pleasure. The confirmation is on its way to your inbox.",
             "Any time. Please be at the harbour 45 minutes before departure."]
REFUND_PERCENT = {"Sail Saver": 0, "Sail Standard": 80, "Sail Flex": 100}


class ToolChat:
    def __init__(self, dice):
        self.dice = dice
        self.messages = [system(FERRY_POLICY)]

    def call(self, name, arguments, answer):
        call_id = "call_" + self.dice.hex(12)
        self.messages.append({
            "role": "assistant", "content": None,
            "tool_calls": [{"id": call_id, "type": "function", "function": {
                "name": name, "arguments": json.dumps(arguments)}}]})
        self.messages.append({"role": "tool", "tool_call_id": call_id, "name": name,
                              "content": json.dumps(answer)})

    def say(self, text):
        self.messages.append(assistant(text))

    def hear(self, text):
        self.messages.append(user(text))


def ferry_chat(dice):
    chat = ToolChat(dice)
    reference = f"{dice.pick('ABCDEFGHKLMNP')}{dice.pick('ABCDEFGHKLMNP')}{dice.between(10000, 99999)}"
    name = f"{dice.pick(FIRST_NAMES)} {dice.pick(FAMILY_NAMES)}"
    route, fare = dice.pick(ROUTES), dice.pick(list(REFUND_PERCENT))
    day = f"2026-01-{dice.between(7, 28):02d}"
    hour = dice.pick(["06:45", "09:10", "11:30", "14:30", "18:15", "21:00"])
    price = dice.between(38, 260)
    travellers = dice.between(1, 5)
    vehicle = dice.pick([None, "car", "camper", "bicycle"])
    chat.hear(dice.pick(OPENINGS).format(ref=reference))
    chat.call("find_booking", {"reference": reference}, {
        "reference": reference, "name": name, "route": route, "day": day, "departure": hour,
        "ship": dice.pick(SHIPS), "fare": fare, "travellers": travellers, "vehicle": vehicle,
        "price": {"amount": price, "currency": "EUR"}, "moved": 0, "state": "confirmed"})
    first = name.split()[0]
    chat.say(f"Thank you, {first}. I see {travellers} on the {hour} from {route.split('-')[0]} on "
             f"{day} with {fare}. Would you like to move the crossing or cancel it?")
    if dice.below(3):
        chat.hear(dice.pick(["Move it, if there is room on the day after.",
                             "We would like to go one day later, at about the same time.",
                             "Is there something the next day?"]))
        next_day = f"2026-01-{int(day[-2:]) + 1:02d}"
        departures = [{"departure": f"{next_day}T{at}", "ship": dice.pick(SHIPS),
                       "places": dice.between(0, 140), "car_deck_metres": dice.between(0, 90)}
                      for at in dice.some(["06:45", "09:10", "11:30", "14:30", "18:15"], 3)]
        chat.call("list_departures", {"route": route, "day": next_day}, departures)
        choice = max(departures, key=lambda entry: (entry["places"], entry["departure"]))
        at = choice["departure"][-5:]
        cost = "for a fee of 15 euros" if fare == "Sail Saver" else "without a fee"
        chat.say(f"The {choice['ship']} leaves at {at} on {next_day} and has {choice['places']} "
                 f"places left. With {fare} I can move you there {cost}. Shall I?")
        chat.hear(dice.pick(MOVE_REPLIES))
        if dice.below(9) == 0:
            chat.call("move_booking", {"reference": reference, "departure": choice["departure"]},
                      {"error": "locked", "detail": "the booking is being changed at a counter"})
            chat.say("I could not move it: the booking is open at a counter at this moment. I can "
                     "hand you to a colleague who sees both, or you try again in ten minutes.")
        else:
            chat.call("move_booking", {"reference": reference, "departure": choice["departure"]},
                      {"reference": reference, "departure": choice["departure"], "moved": 1,
                       "fee": {"amount": 15 if fare == "Sail Saver" else 0, "currency": "EUR"}})
            chat.say(f"Done. You now travel at {at} on {next_day} with the {choice['ship']}.")
    else:
        chat.hear(dice.pick(["I would rather cancel. What do I get back?",
                             "What happens if I cancel today?"]))
        percent = REFUND_PERCENT[fare]
        back = price * percent // 100
        if percent:
            chat.say(f"With {fare} you get {percent} percent back while there are more than 24 hours "
                     f"to go. That is {back} of {price} euros. Shall I cancel the booking?")
            chat.hear(dice.pick(CANCEL_REPLIES))
            chat.call("cancel_booking", {"reference": reference}, {
                "reference": reference, "state": "cancelled",
                "refund": {"amount": back, "currency": "EUR", "days": 5}})
            chat.say(f"It is cancelled, and {back} euros are on their way to the card you paid with. "
                     "That takes up to five working days.")
        else:
            chat.say("A Sail Saver ticket is not refunded. You may move it once for 15 euros, and I "
                     "can look for a day that suits you better.")
            chat.hear("Then I will leave it as it is and think about it.")
            chat.say("That is fine. You can move it until 24 hours before departure.")
    if dice.below(3):
        chat.hear(dice.pick(THANKS))
        chat.say(dice.pick(FAREWELLS))
    return chat.messages


def ferry(dice):
    for index in range(1, 61):
        yield {
            "id": f"support-{index:04d}", "model": dice.pick(["aster-large", "aster-large-2"]),
            "application": "ferry-agent", "created": START_S + index * 871,
            "messages": ferry_chat(dice), "tools": FERRY_TOOLS,
            "metadata": {"temperature": number("0.0"), "top_p": number("1.0"), "trial": index % 4,
                         "reward": number(dice.pick(["0.0", "1.0"])), "user_ref": None},
        }


# --- 2. Chats logged request by request, in seven languages ---------------------------------------

TUTOR_PROMPTS = {
    "en": "You are a patient tutor for adults who come back to learning. Answer in at most four "
          "sentences, start from what the learner already knows, and end with one small question "
          "only when it helps. Say so when you are not sure.",
    "de": "Du bist ein geduldiger Lernbegleiter für Erwachsene. Antworte in höchstens vier Sätzen, "
          "knüpfe an Bekanntes an und sage offen, wenn du etwas nicht sicher weißt.",
    "es": "Eres un tutor paciente para personas adultas que vuelven a estudiar. Responde en cuatro "
          "frases como máximo, parte de lo que ya saben y dilo con franqueza si no estás seguro.",
    "zh": "你是一位耐心的成人学习辅导老师。回答不超过四句话，从学员已经知道的事情说起，不确定时请直说。",
    "ru": "Ты терпеливый наставник для взрослых, которые вернулись к учёбе. Отвечай не длиннее "
          "четырёх предложений, опирайся на знакомое и честно говори, если не уверен.",
    "ja": "あなたは、学び直しをする大人のための根気強い先生です。四文以内で答え、相手が知っていることから始め、"
          "自信がないときは正直に言ってください。",
    "ar": "أنت مدرّس صبور للكبار الذين عادوا إلى التعلّم. أجب في أربع جمل على الأكثر، وابدأ مما يعرفه "
          "المتعلّم، وقل ذلك بصراحة إن لم تكن متأكدًا.",
}
# Each chat is a list of (question, answer).
TUTOR_CHATS = [
    ("en", [
        ("Why does bread go hard when it is left out? I always thought it just dries.",
         "Drying is a part of it, but bread goes stale even in a closed tin. While it bakes, the "
         "starch takes up water and loosens; on the shelf it slowly falls back into an ordered, "
         "stiff form and lets go of that water. That is why a stale roll softens again when you "
         "warm it: heat loosens the starch once more."),
        ("Then why do people say never to put it in the fridge?",
         "Because the starch goes back to its stiff form fastest a little above freezing, which is "
         "just where a fridge is. At room temperature it is slower, and in the freezer it almost "
         "stops. So freeze what you will not eat in two days, and skip the fridge altogether."),
        ("Does toasting do the same as warming?",
         "Inside the slice, yes: it loosens the starch and the crumb becomes soft. The surface goes "
         "further, dries out and browns, which is where the new flavour comes from. Have you noticed "
         "that old bread toasts more evenly than fresh? It holds less water to drive off first."),
        ("I did notice! One more: is the hard bread still safe to eat?",
         "Hard is not the same as spoiled. As long as there is no mould and no sour smell it is fine, "
         "and many dishes were invented for it: dumplings, bread soup, a crumble on vegetables. If "
         "you see mould, throw the whole loaf away, because its threads run deeper than the spot."),
    ]),
    ("en", [
        ("Can you explain compound interest without formulas?",
         "Think of a hedge that you never cut. In the first year a few twigs grow; in the second year "
         "the old wood grows again, and so do the twigs of the first year. Money with compound "
         "interest does the same: what was added last year earns something this year too."),
        ("So it makes a difference whether interest is paid monthly or yearly?",
         "A small one. Paid monthly, each month's interest starts to grow right away instead of "
         "waiting for December. At five percent a year on 1,000 euros the difference after one year "
         "is about one euro and sixteen cents, so it is real but not what decides."),
        ("What decides then?",
         "Time, mostly, and the rate itself. Two people who put aside the same sum every month end "
         "far apart if one of them starts ten years earlier. With fees it works the same way in the "
         "other direction: a small yearly fee also compounds. Would you like to try it with numbers "
         "of your own?"),
        ("Yes: 50 euros a month, 3 percent, 20 years.",
         "You would pay in 12,000 euros. With three percent a year, credited monthly, there would be "
         "roughly 16,400 euros in the end, so about 4,400 of it is growth. I rounded to the nearest "
         "hundred; a bank's table may differ a little because of the day on which it books."),
        ("And if I wait five years before I start?",
         "Then you pay in 9,000 euros over 15 years and end with about 11,300. The five years cost "
         "you 3,000 euros of deposits and some 2,100 euros of growth. That second part is what "
         "cannot be caught up by paying a bit more for a few months."),
    ]),
    ("en", [
        ("My tomato plants have curled leaves. Am I watering too much?",
         "Perhaps, but curled leaves have several causes, so look before you change anything. If the "
         "leaves roll upwards, feel firm and stay green, the plant is most likely saving water on hot "
         "afternoons and uncurls by itself at night. Are they rolled up, or crinkled and pale?"),
        ("Rolled up, firm, green. Mostly the lower ones.",
         "That is the harmless kind. Old lower leaves do it first, above all after strong pruning or "
         "a few hot days. Water deeply every second or third day instead of a little every day, and "
         "put straw on the soil so that it stays evenly moist."),
        ("How do I know that I have watered deeply enough?",
         "Wait an hour and push a finger into the soil beside the plant. If it is moist at the depth "
         "of your second knuckle, that was enough; if it is wet only on top, go slower and longer. "
         "For a pot, water until some runs out below, then empty the saucer."),
    ]),
    ("de", [
        ("Warum ist der Himmel am Abend rot, obwohl er tagsüber blau ist?",
         "Tagsüber kommt das Licht von oben auf kurzem Weg durch die Luft, und die Luft streut davon "
         "vor allem den blauen Anteil in alle Richtungen. Am Abend läuft das Licht flach durch viel "
         "mehr Luft. Bis es bei dir ist, wurde das meiste Blau schon unterwegs weggestreut, und übrig "
         "bleiben Gelb und Rot."),
        ("Und warum ist es an manchen Abenden viel roter als an anderen?",
         "Das hängt davon ab, was in der Luft schwebt. Feiner Staub, Rauch oder Salz vom Meer streuen "
         "zusätzlich, und eine Wolkendecke von unten beleuchtet zeigt die Farbe wie eine Leinwand. "
         "Sehr feuchte, dunstige Luft macht den Himmel dagegen eher milchig."),
        ("Stimmt dann die Regel vom Abendrot und dem guten Wetter?",
         "Manchmal. In unseren Breiten zieht das Wetter meist von Westen heran, und dort geht auch "
         "die Sonne unter; ist es dort klar, kommt oft auch klares Wetter. Verlassen würde ich mich "
         "darauf nicht, eher als Hinweis neben dem Wetterbericht."),
    ]),
    ("de", [
        ("Ich soll für den Elternabend ein Protokoll schreiben und habe das noch nie gemacht.",
         "Das ist weniger Arbeit, als es klingt. Schreib oben Datum, Ort, Anwesende und die Punkte "
         "der Tagesordnung auf. Zu jedem Punkt hältst du nur fest, was beschlossen wurde, wer etwas "
         "übernimmt und bis wann. Wer was gesagt hat, gehört meistens nicht hinein."),
        ("Muss ich mitschreiben oder reicht es, wenn ich es danach aus dem Kopf mache?",
         "Schreib in Stichworten mit, vor allem Namen, Termine und Beträge. Ausformulieren kannst du "
         "am nächsten Tag, dann weißt du noch genug und hast etwas Abstand. Wenn ein Beschluss unklar "
         "war, frag gleich in der Sitzung nach, wie er im Protokoll stehen soll."),
        ("Kannst du mir ein Beispiel für einen Punkt geben?",
         "Gern. „TOP 3, Ausflug im Mai: Die Klasse fährt am 20. Mai in den Tierpark. Frau Yildiz "
         "fragt bis Freitag nach Gruppenkarten. Kosten höchstens 12 Euro je Kind.“ Mehr braucht es "
         "nicht, wenn alle damit etwas anfangen können."),
    ]),
    ("es", [
        ("¿Por qué flota un barco de hierro si un clavo se hunde?",
         "Porque lo que cuenta es el agua que cada uno aparta. El clavo aparta muy poca agua para lo "
         "que pesa. El casco del barco está hueco y aparta muchísima: cuando el agua apartada pesa lo "
         "mismo que el barco entero, deja de hundirse."),
        ("¿Entonces un barco cargado se hunde más?",
         "Sí, baja hasta apartar el peso adicional. Por eso los barcos llevan marcas pintadas en el "
         "casco: indican hasta dónde se puede cargar. En agua dulce bajan un poco más que en el mar, "
         "porque el agua salada pesa más."),
        ("¿Y si se hace un agujero pequeño?",
         "Entra agua, que ocupa el lugar del aire y suma peso sin apartar nada nuevo. Mientras las "
         "bombas saquen tanta como entra, no pasa nada. Además, los barcos grandes están divididos en "
         "compartimentos para que el agua no llegue a todas partes."),
    ]),
    ("es", [
        ("Quiero escribir una carta para agradecer a mi vecina que cuidó de mi madre.",
         "Qué bonita idea. Empieza por un momento concreto que recuerdes, por ejemplo una tarde en "
         "que le llevó la compra. Después di qué significó para ti y termina sin prometer nada que no "
         "vayas a hacer. Media página es suficiente."),
        ("¿Puedes darme una primera frase?",
         "Podría ser: «Querida Carmen, todavía me acuerdo del domingo en que subiste con el caldo y "
         "te quedaste hablando con mi madre hasta que se rió». Cambia el caldo por lo que pasó de "
         "verdad; los detalles son lo que más se agradece."),
    ]),
    ("zh", [
        ("为什么冬天晾在外面的衣服结了冰，最后也会干？",
         "您可能已经知道水会蒸发，其实冰也会直接变成水汽，这叫升华。空气干燥、有风的时候，冰一点一点地散到空气里，"
         "所以衣服即使一直冻着也会慢慢变干。只是比夏天慢得多。"),
        ("那冰箱冷冻室里的冰块变小，也是同样的道理吗？",
         "对，正是同样的道理。现在的冰箱里有风扇，空气又很干，冰块放几个月就会明显变小。"
         "食物没有包好，表面也会这样失去水分，变得又干又白，大家叫它冻烧。"),
        ("怎样可以避免食物冻烧？",
         "关键是不让食物接触空气。把食物包紧，挤出袋子里的空气，并写上日期，两三个月之内吃完就好。"
         "已经冻烧的地方可以切掉，吃了没有危险，只是口感差一些。"),
    ]),
    ("zh", [
        ("我想学着看懂公司的资产负债表，应该从哪里开始？",
         "可以先把它想成一张家庭清单：左边是您有的东西，右边是这些东西的钱从哪里来。"
         "右边又分两部分，一部分是借来的，一部分是自己的。左右两边永远相等，这是最重要的一点。"),
        ("为什么一定相等？",
         "因为每一样东西都必须有来源。如果您借钱买了一辆车，左边多了车，右边同时多了债。"
         "如果车贬值了，左边变少，右边自己的那部分也一样变少。"),
    ]),
    ("ru", [
        ("Почему чай остывает быстрее, если на него дуть?",
         "Над чашкой всегда стоит тонкий слой тёплого влажного воздуха, и он удерживает тепло, как "
         "крышка. Когда дуешь, этот слой уходит, вода испаряется быстрее, а испарение забирает "
         "тепло. Поэтому ветер на улице тоже кажется холоднее, чем показывает термометр."),
        ("А если просто помешивать ложкой?",
         "Помогает, но слабее. Ложка поднимает горячий чай со дна к поверхности, и поверхность дольше "
         "остаётся горячей. Если ложка металлическая и холодная, она ещё и сама возьмёт немного "
         "тепла, хотя одной ложки для целой чашки мало."),
        ("Что же быстрее всего?",
         "Перелить чай в широкую миску или блюдце: так поверхность становится больше. Ещё можно "
         "несколько раз перелить его из чашки в чашку. Только не добавляй холодную воду, если "
         "дорожишь вкусом."),
    ]),
    ("ru", [
        ("Как запоминать иностранные слова, если память уже не та?",
         "Память у взрослых работает не хуже, просто ей нужны связи. Учи не отдельное слово, а "
         "короткую фразу, которую ты и правда мог бы сказать. И повторяй её через день, потом через "
         "три дня, потом через неделю: забывание здесь помогает, а не мешает."),
        ("Сколько слов в день разумно?",
         "Пять новых слов в день уже много, если ты к ним возвращаешься. За год это больше тысячи, "
         "чего хватает для простого разговора. Лучше пять слов каждый день, чем тридцать по "
         "воскресеньям."),
    ]),
    ("ja", [
        ("電車が急に止まると体が前に倒れるのはどうしてですか。",
         "走っている電車の中では、体も電車と同じ速さで動いています。電車だけが急に遅くなっても、体はそのまま進もうとします。"
         "足は床と一緒に止まるので、上半身だけが前に出るわけです。"),
        ("では、発車するときに後ろへ倒れるのも同じ理由ですか。",
         "はい、同じ理由です。今度は体が止まったままでいようとして、床と足だけが先に動きます。"
         "つり革をつかむと、電車の動きが手からも体に伝わるので倒れにくくなります。"),
        ("ずっと同じ速さなら、何も感じないのですか。",
         "まっすぐで揺れがなければ、ほとんど何も感じません。窓を閉めて目をつぶれば、止まっているのか走っているのか区別できないくらいです。"
         "体が感じるのは速さではなく、速さの変わり方だからです。"),
    ]),
    ("ja", [
        ("俳句を書いてみたいのですが、何から始めればいいでしょうか。",
         "まず、今日見たものを一つだけ選んでください。大きな気持ちより、小さな物のほうが書きやすいです。"
         "五・七・五にこだわりすぎず、声に出して読んで気持ちのよい長さを探してみましょう。"),
        ("朝、窓に霜がついていました。",
         "よい題材です。「霜の窓指の跡から朝になる」のように、霜に触れたときのことを一つ足すだけで景色が動き出します。"
         "あなたなら、その窓から何が見えたかを続けてみてください。"),
    ]),
    ("ar", [
        ("لماذا نرى البرق قبل أن نسمع الرعد؟",
         "يحدث الاثنان في اللحظة نفسها، لكن الضوء يصل إلينا فورًا تقريبًا، أما الصوت فيحتاج إلى نحو ثلاث "
         "ثوانٍ لكل كيلومتر. لذلك يمكنك أن تعدّ الثواني بين البرق والرعد وتقسمها على ثلاثة لتعرف بُعد "
         "العاصفة."),
        ("وإذا رأيت البرق ولم أسمع شيئًا؟",
         "فالعاصفة بعيدة على الأغلب، أكثر من خمسة عشر كيلومترًا. ينحني الصوت إلى أعلى ويضعف في الطريق فلا "
         "يصل إلى الأرض عندك. أما الضوء فتعكسه الغيوم ويُرى من مسافات كبيرة."),
        ("متى يجب أن أدخل إلى البيت؟",
         "إذا كان بين البرق والرعد أقل من ثلاثين ثانية فالأفضل أن تدخل. وانتظر نصف ساعة بعد آخر رعد قبل أن "
         "تخرج من جديد."),
    ]),
    ("ar", [
        ("أريد أن أكتب دعوة قصيرة لجيراني إلى الشاي.",
         "فكرة لطيفة. اذكر اليوم والساعة والمكان في الجملة الأولى، ثم قل إنهم لا يحتاجون إلى إحضار شيء. مثلًا: "
         "«يسعدنا أن تشربوا الشاي معنا يوم الجمعة في الخامسة مساءً في الحديقة»."),
        ("وكيف أطلب منهم تأكيد الحضور من دون إلحاح؟",
         "اكتب: «تكفينا رسالة قصيرة حتى مساء الخميس كي نعدّ ما يكفي من الكراسي». هكذا يعرفون السبب ولا يشعرون "
         "بضغط."),
    ]),
]


def tutor(dice):
    """Request N of a chat repeats request N - 1 and its answer."""
    for index, (language, turns) in enumerate(TUTOR_CHATS):
        session = dice.uuid()
        time_s = START_S + 40_000 + index * 5_400
        messages = [system(TUTOR_PROMPTS[language])]
        for turn, (question, answer) in enumerate(turns):
            messages.append(user(question))
            messages.append(assistant(answer))
            prompt = sum(len(m["content"]) for m in messages[:-1]) // 4
            yield {
                "id": dice.uuid(), "model": dice.pick(["aster-small", "birch-2"]),
                "application": "tutor", "created": time_s, "messages": list(messages),
                "usage": {"prompt_tokens": prompt, "completion_tokens": len(answer) // 4,
                          "cost": number(f"{prompt / 5_000_000:.6e}")},
                "session": session, "turn": turn, "language": language,
            }
            time_s += dice.between(25, 180)


# --- 3. Questions answered from passages ----------------------------------------------------------

LIBRARY_TEMPLATE = """Answer the member's question from the passages below and from nothing else. If \
they do not contain the answer, say that you do not know and name the desk that does. Cite the \
passages that you used by their number in square brackets. Write two to four sentences.

{passages}

Member's question: {question}
Answer:"""
# title -> (passage, question, answer)
LIBRARY = {
    "Borrowing a tool": (
        "Members borrow up to five tools at a time for seven days. A loan can be extended twice, by "
        "telephone or at the counter, unless somebody else has reserved the tool. Cordless tools are "
        "lent with two charged batteries and come back with both, charged or not.",
        "How long can I keep a drill, and can I have it longer?",
        "You can keep it for seven days and extend the loan twice, unless somebody has reserved it {n}. "
        "Remember to bring back both batteries {n}."),
    "Late returns": (
        "A tool that is returned late costs one euro a day, at most the price of a new one. We waive "
        "the fee once a year without questions. After three weeks we write a letter; after six weeks "
        "the membership rests until the tool is back.",
        "I forgot to bring back a ladder four days ago. What do I owe?",
        "Four euros, since late tools cost one euro a day {n}. The fee is waived once a year without "
        "questions, so ask at the counter whether you have used that already {n}."),
    "Damage": (
        "Wear is part of lending and costs nothing. Tell us what broke and how, even if it still works: "
        "the next member relies on it. Only loss, theft from an open car and use against the manual are "
        "charged, by the age of the tool.",
        "The handle of the rake cracked while I used it. Do I have to pay?",
        "No, wear is part of lending and costs nothing {n}. Please say what broke and how, so that the "
        "next member gets a sound rake {n}."),
    "Membership": (
        "Membership costs 24 euros a year, 12 for students and for people with a city pass. Everybody "
        "of full age who lives or works in the district may join. Bring an identity card; the first "
        "loan is possible on the same day.",
        "Can I join if I only work in the district?",
        "Yes, everybody of full age who lives or works in the district may join {n}. It costs 24 euros "
        "a year, or 12 for students and with a city pass {n}."),
    "Reservations": (
        "Any tool can be reserved up to six weeks ahead. We keep it aside for two days from the agreed "
        "morning. Large machines, which are the chipper, the cement mixer and the floor sander, can be "
        "reserved for weekends only with a deposit of 50 euros.",
        "I need the floor sander on Saturday in two weeks. How do I make sure that it is there?",
        "Reserve it now: tools can be reserved up to six weeks ahead {n}. The floor sander is a large "
        "machine, so a weekend reservation needs a deposit of 50 euros {n}."),
    "Opening hours": (
        "The counter is open on Tuesday and Thursday from 15 to 19 and on Saturday from 10 to 14. "
        "Returns are possible at any time through the hatch in the yard, except for machines with a "
        "fuel tank. In August only Saturday is open.",
        "Can I return the hedge trimmer on a Sunday?",
        "Yes, through the hatch in the yard, at any time {n}. The exception is a machine with a fuel "
        "tank, which has to come back to the counter {n}."),
    "Workshops": (
        "On the first Saturday of each month there is a workshop for beginners: drilling into tiles, "
        "sharpening, mending a puncture, hanging a door. Places are free for members and cost eight "
        "euros for guests. Children from ten years may come with an adult.",
        "My son is twelve. Can he come to the sharpening workshop?",
        "Yes, children from ten years may come with an adult {n}. It is free if you are a member and "
        "costs eight euros for guests {n}."),
    "Safety": (
        "Goggles, gloves and ear protection are lent with every tool that needs them and cost nothing. "
        "We lend the circular saw and the chipper only after an introduction of ten minutes, which is "
        "noted on your card and need not be repeated.",
        "Do I need a course before I can borrow the circular saw?",
        "Only an introduction of ten minutes, which is noted on your card {n}. Protective gear comes "
        "with the saw and costs nothing {n}."),
    "Donations": (
        "We gladly take hand tools in working order and cordless tools that are younger than five "
        "years. We cannot take fuel, paint, ladders without a test label or anything with asbestos. "
        "Bring donations on Thursdays, when somebody has time to look at them.",
        "I would like to give away my father's tools. When can I come?",
        "Come on a Thursday, when somebody has time to look at them {n}. Hand tools should work, and "
        "fuel, paint and ladders without a test label cannot be taken {n}."),
    "Transport": (
        "Two cargo bicycles stand in the yard and can be borrowed for up to three hours to carry tools "
        "home. They take 80 kilograms. For the chipper you need a car with a towing hook; the trailer "
        "has its own papers, which lie in the drawer below the counter.",
        "How do I get the cement mixer home without a car?",
        "You can borrow one of the two cargo bicycles for up to three hours {n}. They carry 80 "
        "kilograms, so please check the weight of the mixer at the counter first {n}."),
    "Repairs": (
        "The repair table is open while the counter is. Volunteers help you to repair a thing of your "
        "own; they do not do it for you. Spare parts cost what we paid for them. We do not open "
        "microwave ovens, gas heaters and anything that is still under guarantee.",
        "Could somebody look at my broken microwave oven?",
        "I am afraid not, the repair table does not open microwave ovens {n}. For other things of your "
        "own, volunteers help you while the counter is open {n}."),
    "Garden seeds": (
        "The seed drawer works without a card: take what you can sow, and bring back seed of the same "
        "kind when you can. Beans, peas, tomatoes and marigolds are easy to begin with. Please do not "
        "bring pumpkin seed, because the kinds cross and the fruit may be bitter.",
        "May I bring pumpkin seeds from my garden?",
        "Please do not: the kinds cross and the fruit may be bitter {n}. Beans, peas and tomatoes are "
        "welcome {n}."),
}
VARIED = ["{question}", "Hi, a short one: {question}", "{question} Thanks.",
          "I could not find this on the notice board. {question}",
          "{question} I am asking for my neighbour, who is a member."]


def library(dice):
    titles = list(LIBRARY)
    for index in range(84):
        title = titles[index % len(titles)]
        _, question, answer = LIBRARY[title]
        shown = dice.some([t for t in titles if t != title], dice.between(2, 4))
        shown.insert(dice.below(len(shown) + 1), title)
        cited = f"[{shown.index(title) + 1}]"
        passages = "\n\n".join(f"[{i}] {t}\n{LIBRARY[t][0]}" for i, t in enumerate(shown, 1))
        prompt = LIBRARY_TEMPLATE.format(
            passages=passages, question=dice.pick(VARIED).format(question=question))
        yield {
            "id": f"rag/{index // 10}/{index}", "model": "birch-2",
            "application": "tool-library", "timestamp": (START_S + 90_000 + index * 613) * 1000 + 250,
            "messages": [user(prompt), assistant(answer.format(n=cited))],
            "retrieval": {"ids": [titles.index(t) for t in shown],
                          "scores": [number(f"{0.95 - 0.07 * i:.2f}") for i in range(len(shown))]},
        }


# --- 4. A classifier: prompts that differ in one line ----------------------------------------------

CLASSIFIER = """You sort incoming mail for a small repair shop. Read the message between the marks and \
answer with exactly one word out of: order, question, complaint, invoice, thanks, other. Do not explain \
your choice. If two words fit, take the one that needs an answer sooner.

<<<
{mail}
>>>
Word:"""
THINGS = ["bicycle lamp", "record player", "coffee grinder", "typewriter", "wall clock", "sewing machine",
          "accordion", "desk fan", "kettle", "radio"]
MAILS = {
    "order": ["Please send me two spare belts for my {thing}, by ordinary post.",
              "I would like to have my {thing} overhauled before Easter. Pick it up any morning."],
    "question": ["Do you also mend a {thing} that is older than fifty years?",
                 "What would it roughly cost to get a {thing} going again?"],
    "complaint": ["The {thing} came back last week and has stopped again. I am rather disappointed.",
                  "You promised the {thing} for Monday, and today is Thursday."],
    "invoice": ["Enclosed is the bill for the parts of one {thing}. Payable within 14 days.",
                "Reminder: the invoice for the {thing} motor is still open."],
    "thanks": ["The {thing} works like on its first day. My grandmother sends her regards.",
               "Just a word of thanks for the quick work on our {thing}."],
    "other": ["We are looking for a sponsor for our village fair. A {thing} would make a fine prize.",
              "Is this the number of the bakery? I wanted rolls, not a {thing}."],
}


def classifier(dice):
    for index in range(72):
        word = dice.pick(list(MAILS))
        mail = dice.pick(MAILS[word]).format(thing=dice.pick(THINGS))
        yield {
            "id": index + 1, "model": "aster-small", "application": "mail-sorter",
            "created": START_S + 150_000 + index * 47,
            "messages": [user(CLASSIFIER.format(mail=mail)), assistant(word)],
            "params": {"temperature": number("0.0"), "max_tokens": 4, "seed": 7,
                       "logit_bias": {}, "stop": ["\n"], "min_p": number("1e-3")},
            "stream": False,
        }


# --- 5. Code, content parts, translations ----------------------------------------------------------

REVIEWS = [
    ("python", """def average(values):
    total = 0
    for value in values:
        total += value
    return total / len(values)
""", "It fails with ZeroDivisionError when `values` is empty, and it needs a sequence because of `len`. "
     "Decide what the average of nothing is and say so:\n\n```python\ndef average(values):\n"
     "    values = list(values)\n    if not values:\n        return None\n"
     "    return sum(values) / len(values)\n```"),
    ("cpp", """std::string_view first_word(const std::string& text) {
  std::string word = text.substr(0, text.find(' '));
  return word;
}
""", "The view points into `word`, which is gone when the function returns. Take the view of the argument "
     "instead:\n\n```cpp\nstd::string_view first_word(std::string_view text) {\n"
     "  return text.substr(0, text.find(' '));\n}\n```\n`find` may return `npos`; `substr` takes that "
     "as the rest of the text, so the last word is right as well."),
    ("sql", """SELECT customer, SUM(amount)
FROM payments
WHERE paid_at > '2025-12-31'
GROUP BY customer
HAVING customer IS NOT NULL;
""", "The query is right but does work for nothing: `HAVING` removes groups after they were summed. Move the "
     "condition to `WHERE`. And `>` on a date column with times keeps the afternoon of 31 December; "
     "`>= '2026-01-01'` says what you mean."),
    ("bash", """for file in $(ls *.log); do
  gzip $file
done
""", "A name with a space becomes two words, and with no match the loop runs over the text `*.log`. The shell "
     "can list files by itself:\n\n```bash\nshopt -s nullglob\nfor file in *.log; do\n"
     "  gzip -- \"$file\"\ndone\n```"),
    ("javascript", """function wait(ms) {
  setTimeout(() => {}, ms);
}

async function poll(url) {
  while (true) {
    await fetch(url);
    await wait(1000);
  }
}
""", "`wait` returns `undefined` at once, so `poll` asks the server as fast as it can. Return a promise: "
     "`const wait = ms => new Promise(done => setTimeout(done, ms));`. Give `poll` a way to stop, too, for "
     "example an AbortSignal."),
    ("rust", """fn longest(words: &Vec<String>) -> String {
    let mut best = words[0].clone();
    for w in words {
        if w.len() > best.len() { best = w.clone(); }
    }
    best
}
""", "It panics on an empty list and copies strings that it throws away. Borrow instead: "
     "`fn longest(words: &[String]) -> Option<&str> { words.iter().map(String::as_str)"
     ".max_by_key(|w| w.len()) }`. Mind that `len` counts bytes, not letters."),
]
REVIEW_ASKS = ["Could you review this {language} snippet?", "What is wrong with this {language} code?",
               "Please look over my {language} before I commit it.", "Is this {language} all right?"]
FOLLOW_UPS = [
    ("Is there a test that would have caught it?",
     "Yes, the smallest one: call it with nothing, or with the odd name, and say what you expect. If you write "
     "that test first and see it fail, you also know that the mend is what made it pass."),
    ("Thanks. Would you change the names?",
     "Only where a name hides the unit or the kind of thing. What you have reads well enough; I would rather "
     "spend the time on the case that fails."),
]


def reviews(dice):
    for index in range(36):
        language, code, answer = REVIEWS[index % len(REVIEWS)]
        ask = dice.pick(REVIEW_ASKS).format(language=language)
        parts = [{"type": "text", "text": ask},
                 {"type": "text", "text": f"```{language}\n{code}```"}]
        if index % 6 == 5:
            pixel = bytes(dice.below(256) for _ in range(180))
            data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + pixel).decode()
            parts.append({"type": "image_url", "image_url": {
                "url": f"data:image/png;base64,{data}", "detail": "low"}})
        messages = [system("You review code for colleagues. Be brief, start with the worst problem, and show "
                           "the corrected lines."),
                    {"role": "user", "content": parts, "name": dice.pick(FIRST_NAMES).lower()},
                    assistant(answer)]
        if dice.below(2):
            question, reply = dice.pick(FOLLOW_UPS)
            messages += [user(question), assistant(reply)]
        yield {
            "id": "chatcmpl-" + dice.hex(20), "object": "chat.completion", "model": "aster-large-2",
            "application": "code-review",
            "created_at": f"2026-01-07T{8 + index // 6:02d}:{index % 6 * 9:02d}:00Z",
            "messages": messages, "system_fingerprint": None,
            "usage": {"prompt_tokens": 120 + dice.below(200), "completion_tokens": 60 + dice.below(90),
                      "prompt_tokens_details": {"cached_tokens": 0}},
            "latency_s": number(f"{dice.between(400, 2900) / 1000:.3f}"), "flagged": False,
        }


SENTENCES = {
    "English": ["The last bus leaves at a quarter past eleven.", "Please keep the receipt for two years.",
                "We only met because both of us had forgotten our umbrellas.",
                "The key lies under the third flower pot."],
    "German": ["Der letzte Bus fährt um Viertel nach elf.", "Bitte bewahren Sie den Beleg zwei Jahre auf.",
               "Wir lernten uns nur kennen, weil wir beide den Schirm vergessen hatten.",
               "Der Schlüssel liegt unter dem dritten Blumentopf."],
    "Spanish": ["El último autobús sale a las once y cuarto.", "Conserve el recibo durante dos años, por favor.",
                "Nos conocimos solo porque los dos habíamos olvidado el paraguas.",
                "La llave está debajo de la tercera maceta."],
    "Russian": ["Последний автобус отходит в четверть двенадцатого.", "Пожалуйста, храните чек два года.",
                "Мы познакомились только потому, что оба забыли зонт.",
                "Ключ лежит под третьим цветочным горшком."],
    "Chinese": ["末班车十一点一刻开。", "请将收据保存两年。", "我们会认识，只是因为两个人都忘了带伞。",
                "钥匙在第三个花盆下面。"],
    "Japanese": ["最終バスは十一時十五分に出ます。", "領収書は二年間保管してください。",
                 "二人とも傘を忘れたおかげで知り合いました。", "鍵は三つ目の植木鉢の下にあります。"],
    "Arabic": ["تغادر الحافلة الأخيرة في الحادية عشرة والربع.", "يرجى الاحتفاظ بالإيصال لمدة سنتين.",
               "لم نتعارف إلا لأن كلينا نسي مظلته.", "المفتاح تحت أصيص الزهور الثالث."],
}


def translations(dice):
    for index in range(40):
        source, target = dice.some(list(SENTENCES), 2)
        which = dice.below(4)
        yield {
            "model": "birch-2", "application": "translator", "created": START_S + 260_000 + index * 95,
            "id": f"tr_{index:06x}",
            "messages": [system(f"Translate from {source} to {target}. Keep the tone. Answer with the "
                                "translation only."),
                         user(SENTENCES[source][which]), assistant(SENTENCES[target][which])],
            "quality": number(f"{dice.between(80, 100) / 100}"), "reviewer": None,
        }


# --- 6. Rollouts as token ids -----------------------------------------------------------------------


def rollouts(dice):
    """Eight samples of one prompt, as ids below 50,000 of a vocabulary that is not named."""
    for group in range(2):
        prompt = [dice.below(50_000) for _ in range(60)]
        for sample in range(8):
            answer = [dice.below(900) for _ in range(dice.between(20, 70))]
            yield {
                "id": f"rollout-{group}-{sample}", "model": f"policy-step-{group * 250}",
                "application": "training", "created": START_S + 400_000 + group * 3_600 + sample,
                "messages": [{"role": "user", "content": prompt},
                             {"role": "assistant", "content": answer,
                              "reward": number(f"{dice.below(1000) / 1000:.3f}"),
                              "advantage": number(f"{dice.between(-900, 900)}e-3")}],
            }


def generate():
    dice = Dice(2026)
    conversations = []
    for application in (ferry, tutor, library, classifier, reviews, translations, rollouts):
        conversations += application(dice)
    return "".join(line(conversation) + "\n" for conversation in conversations).encode()


def main():
    data = generate()
    if sys.argv[1:] == ["--check"]:
        if OUTPUT.read_bytes() != data:
            print("examples/conversations.jsonl is not what examples/generate.py writes")
            return 1
        return 0
    OUTPUT.write_bytes(data)
    print(f"{len(data.splitlines())} conversations, {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
