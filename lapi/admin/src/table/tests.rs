//! Tables as `cscli` lays them out.

use super::*;

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

#[test]
fn a_list_has_no_frame() {
    let table = Table::plain(false)
        .header(&["Name", "Valid", "Type"])
        .rows([row(&["fw-1", "✔️", "t"]), row(&["x", "🚫"])]);
    assert_eq!(
        table.render(),
        concat!(
            "-------------------\n",
            " Name  Valid  Type \n",
            "-------------------\n",
            " fw-1  ✔️      t    \n",
            " x     🚫          \n",
            "-------------------\n",
        )
    );
    let fancy = Table::plain(true).title("List").header(&["Name"]).rows([row(&["x"])]);
    assert_eq!(fancy.render(), "──────\n List \n──────\n Name \n──────\n x    \n──────\n");
}

#[test]
fn a_framed_table_has_its_title_inside() {
    let table = || Table::framed(false).title("Acquisition").header(&["Source", "Read"]);
    assert_eq!(
        table().columns(vec![Column::LEFT, Column::RIGHT]).rows([row(&["file:a", "7"])]).render(),
        concat!(
            "+---------------+\n",
            "| Acquisition   |\n",
            "+--------+------+\n",
            "| Source | Read |\n",
            "+--------+------+\n",
            "| file:a |    7 |\n",
            "+--------+------+\n",
        )
    );
    assert_eq!(
        table().render(),
        concat!(
            "+---------------+\n",
            "| Acquisition   |\n",
            "+--------+------+\n",
            "| Source | Read |\n",
            "+--------+------+\n",
            "+--------+------+\n",
        ),
        "empty"
    );
    let fancy = Table::framed(true).header(&["A", "B"]).rows([row(&["1", "2"])]);
    assert_eq!(fancy.render(), "╭───┬───╮\n│ A │ B │\n├───┼───┤\n│ 1 │ 2 │\n╰───┴───╯\n");
}

#[test]
fn equal_headers_are_merged_and_totals_follow_at_once_where_nothing_is_in_between() {
    let numbers = Column { header: Align::Center, ..Column::RIGHT };
    let table = Table::framed(false)
        .title("Bouncer Metrics (testbouncer) since 2024-02-08 13:35:16 +0000 UTC")
        .merged_header(row(&["Origin", "foo", "foo"]))
        .header(&["", "dogyear", "pound"])
        .columns(vec![Column { footer: Align::Right, ..Column::LEFT }, numbers])
        .footer(row(&["Total", "2", "5"]));
    assert_eq!(
        table.render(),
        concat!(
            "+--------------------------+\n",
            "| Bouncer Metrics (testbou |\n",
            "| ncer) since 2024-02-08 1 |\n",
            "| 3:35:16 +0000 UTC        |\n",
            "+--------+-----------------+\n",
            "| Origin |       foo       |\n",
            "|        | dogyear | pound |\n",
            "+--------+---------+-------+\n",
            "|  Total |       2 |     5 |\n",
            "+--------+---------+-------+\n",
        )
    );
    let wide = Table::framed(false).merged_header(row(&["a long name", "a long name"])).header(&["x", "y"]);
    assert!(
        wide.render().starts_with("+-------------+\n| a long name |\n| x    | y    |\n+------+------+\n")
    );
}

#[test]
fn long_texts_are_wrapped_and_repeats_left_empty() {
    let first = Column { once: true, ..Column::LEFT };
    let second = Column { header: Align::Center, max_width: Some(7), ..Column::LEFT };
    let table = Table::framed(false).header(&["Key", "Value"]).columns(vec![first, second]).ruled().rows([
        row(&["a", "one two three"]),
        row(&["a", "123456789 x"]),
        row(&["b", "2\nlines"]),
    ]);
    assert_eq!(
        table.render(),
        concat!(
            "+-----+---------+\n",
            "| Key |  Value  |\n",
            "+-----+---------+\n",
            "| a   | one two |\n",
            "|     | three   |\n",
            "+-----+---------+\n",
            "|     | 1234567 |\n",
            "|     | 89 x    |\n",
            "+-----+---------+\n",
            "| b   | 2\\nline |\n",
            "|     | s       |\n",
            "+-----+---------+\n",
        )
    );
}

#[test]
fn what_a_terminal_would_obey_takes_the_space_of_its_escape() {
    let table = Table::framed(false).header(&["A"]).rows([row(&["\u{1b}[2J"]), row(&["a\tb"])]);
    assert_eq!(
        table.render(),
        "+---------+\n| A       |\n+---------+\n| \\x1b[2J |\n| a    b  |\n+---------+\n"
    );
}
