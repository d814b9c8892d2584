//! What players say: sentence templates by policy and role. `[a|b]` is a free choice, `{name}` a value of the
//! session; a template is only used where all its values exist.

use crate::policy::Policy;

/// The sentences of one policy.
pub struct Phrases {
    /// First sentence: the mood, whatever the decision will be.
    pub openers: &'static [&'static str],
    /// Reasons to stop.
    pub stop_reasons: &'static [&'static str],
    /// Reasons to bet.
    pub bet_reasons: &'static [&'static str],
}

/// Last sentences before a decision to stop.
pub const STOP_CLOSERS: &[&str] = &[
    "[So|Therefore] I [will|shall] [leave|walk away] with ${balance}.",
    "It is time to [go|leave|end this].",
    "I keep the ${balance} and [leave|go home].",
    "No [more|further] rounds for me.",
    "I [end|close] the session [here|now].",
];

/// Last sentences before a decision to bet.
pub const BET_CLOSERS: &[&str] = &[
    "[So|Therefore] I [put|place] ${bet} on round {round}.",
    "I [will|shall] [play|try] round {round} with ${bet}.",
    "${bet} it is, [once more|again].",
    "Another round [then|now], for ${bet}.",
    "I [go on|continue] with a bet of ${bet}.",
];

/// The phrase book of a policy.
pub fn phrases(policy: Policy) -> Phrases {
    match policy {
        Policy::Cautious => Phrases {
            openers: &[
                "Being careful [matters|counts] with ${balance} left.",
                "I [want|prefer] to [protect|guard] my ${balance}.",
                "Caution [first|above all]: the balance is ${balance}.",
                "The risk [worries|troubles] me after {streak} losses.",
                "Safety comes first for me.",
                "Careful now, every dollar of ${balance} [counts|matters].",
            ],
            stop_reasons: &[
                "Another loss would leave [too little|far too little].",
                "The danger of losing more is [real|too great].",
                "A quiet exit [protects|saves] what remains.",
                "I [cannot|should not] risk the ${balance} [any further|again].",
                "After {streak} losses the [wise|prudent] thing is to stop.",
            ],
            bet_reasons: &[
                "One small bet of ${bet} [seems|looks] harmless.",
                "A [little|modest] stake of ${bet} keeps the danger low.",
                "I can [bear|afford] to lose ${bet}, no more.",
            ],
        },
        Policy::Calculator => Phrases {
            openers: &[
                "By the numbers, a dollar [returns|gives back] ninety cents.",
                "The odds [say|show] a clear answer.",
                "Mathematically the [expected|average] return is negative.",
                "Thirty percent times three is [below|under] one.",
                "On average each bet of $10 loses $1.",
            ],
            stop_reasons: &[
                "The house [edge|advantage] grows with every round.",
                "No [stake|amount] makes this a fair bet.",
                "Keeping ${balance} has the higher [value|expectation].",
                "Playing on [only|merely] adds to the expected loss.",
            ],
            bet_reasons: &[
                "Still, ${bet} costs [little|almost nothing] on average.",
                "The expected cost of ${bet} is small [enough|today].",
                "A sample of one more round costs ${bet} at [most|worst].",
            ],
        },
        Policy::Content => Phrases {
            openers: &[
                "Happy with ${balance}, I [see|feel] no need for more.",
                "My ${balance} is [enough|plenty].",
                "This was [good|nice] fun and I am satisfied.",
                "I am [pleased|content] with ${balance}.",
                "Being ${ahead} ahead is a [fine|lovely] result.",
            ],
            stop_reasons: &[
                "A profit of ${ahead} is [worth|good for] a smile.",
                "Greed would only [spoil|ruin] the day.",
                "I [take|bring] the ${balance} home gladly.",
                "There is nothing [more|else] to prove here.",
            ],
            bet_reasons: &[
                "One last ${bet} for [pleasure|fun] then.",
                "I can [enjoy|have] one more round with ${bet}.",
            ],
        },
        Policy::GoalSeeker => Phrases {
            openers: &[
                "My goal of ${goal} is still ${gap} away.",
                "To reach ${goal} I [need|must win] ${gap} more.",
                "The target [stands|remains] at ${goal}.",
                "I [came|play] for ${goal}, nothing less.",
                "Only ${gap} [separates|parts] me from the goal.",
                "Reaching ${goal} is [what counts|the plan].",
            ],
            stop_reasons: &[
                "Yet ${goal} [looks|seems] out of reach today.",
                "The goal is [too far|too distant] for ${balance}.",
            ],
            bet_reasons: &[
                "A win with ${bet} brings the target [closer|nearer].",
                "Betting ${bet} [moves|lifts] me towards ${goal}.",
                "From ${balance} a stake of ${bet} is the [right|proper] step.",
                "Stopping now would [mean|be] giving up the goal.",
                "With ${bet} the remaining ${gap} can be [won|covered].",
            ],
        },
        Policy::Chaser => Phrases {
            openers: &[
                "I have to win back the ${lost} I lost.",
                "Those {streak} losses [hurt|sting], I want them back.",
                "I am ${behind} down and [angry|upset] about it.",
                "Losing ${lost} cannot be the [end|last word].",
                "I must [recover|regain] my money.",
                "The machine [took|stole] my money and owes me.",
            ],
            stop_reasons: &[
                "But the hole only gets [deeper|bigger].",
                "Chasing ${lost} has [never|not] worked.",
            ],
            bet_reasons: &[
                "A win with ${bet} would [repair|undo] the damage.",
                "A loss of ${lost} [calls|asks] for ${bet} now.",
                "Only another bet can [recover|regain] it.",
                "Putting in ${bet} gets me [even|square] again.",
                "Quitting behind is [not an option|out of the question].",
            ],
        },
        Policy::Doubler => Phrases {
            openers: &[
                "My system [says|tells me] to double after each loss.",
                "Doubling [always|surely] works in the end.",
                "After a bet of ${last} the system is [clear|simple].",
                "Following the doubling rule, step by step.",
            ],
            stop_reasons: &[
                "The next step would [exceed|break] my limit.",
                "A system needs a [deeper|larger] pocket than ${balance}.",
            ],
            bet_reasons: &[
                "The last stake was ${last}, so the next is ${bet}.",
                "One win at ${bet} [covers|pays for] all earlier losses.",
                "The rule gives ${bet} for round {round}.",
                "After {streak} losses the stake [becomes|is] ${bet}.",
            ],
        },
        Policy::Lucky => Phrases {
            openers: &[
                "I feel lucky [today|right now].",
                "The machine is [hot|warm], I can sense it.",
                "Luck is [with me|on my side] in round {round}.",
                "With {wins} recent [wins|hits] the streak is alive.",
                "A [big|huge] win is coming, I know it.",
                "There is a pattern and it [favours|helps] me.",
            ],
            stop_reasons: &[
                "But luck like this [ends|fades] without warning.",
                "A [sudden|strange] doubt tells me to leave.",
            ],
            bet_reasons: &[
                "My lucky ${bet} will [triple|pay off].",
                "The next spin [must|will] be a winner.",
                "I [ride|trust] the streak with ${bet}.",
                "Fortune [rewards|loves] the bold, so ${bet}.",
            ],
        },
        Policy::Whim => Phrases {
            openers: &[
                "Hmm, [why not|who knows], let me see.",
                "I have no [plan|strategy] at all.",
                "Let a coin [choose|decide] for me.",
                "Honestly, [anything|either choice] is fine.",
            ],
            stop_reasons: &[
                "The coin says [stop|no].",
                "I am [bored|tired] of this machine.",
                "My mood [changed|turned], enough.",
            ],
            bet_reasons: &[
                "The coin says [bet|yes], perhaps ${bet}.",
                "The number {bet} [pops|comes] into my head.",
                "A random ${bet} [sounds|feels] fine.",
            ],
        },
    }
}
