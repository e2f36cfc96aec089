//! Puts mutants beside the code that they change, each behind a switch.
//!
//! A switch is text around a stretch of source: what is written literally, and inner stretches that may hold switches of
//! their own. What a mutant puts in lies between marks, so that an error of the compiler can be laid at its door.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proc_macro2::LineColumn;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::list::{Mutant, Position};

/// A changed stretch of the source; an empty one is an insertion.
#[derive(Clone)]
struct Edit {
    range: Range<usize>,
    pieces: Vec<Piece>,
}

#[derive(Clone)]
enum Piece {
    Text(String),
    Inner(Range<usize>),
}

/// The source with every mutant of `mutants` that a place was found for, and the numbers of those that none was.
pub fn rewrite(
    source: &str,
    mutants: &BTreeMap<usize, &Mutant>,
    constants: &BTreeSet<String>,
) -> anyhow::Result<(String, Vec<usize>)> {
    let file = syn::parse_file(source)?;
    let mut uses = Uses { constants, edits: Vec::new() };
    uses.visit_file(&file);
    let mut finder =
        Finder { source, mutants, constants, uses: &uses.edits, edits: uses.edits.clone(), placed: Vec::new() };
    finder.visit_file(&file);
    let Finder { mut edits, placed, .. } = finder;
    edits.sort_by_key(|edit| (edit.range.start, !edit.range.is_empty(), std::cmp::Reverse(edit.range.end)));
    let unplaced = mutants.keys().copied().filter(|id| !placed.contains(id)).collect();
    Ok((render(source, &edits, 0..source.len()), unplaced))
}

fn render(source: &str, edits: &[Edit], range: Range<usize>) -> String {
    let mut out = String::new();
    let mut at = range.start;
    for edit in edits {
        let Range { start, end } = edit.range;
        let is_inside = if start == end { start > range.start && end < range.end } else { end <= range.end };
        if start < at || !is_inside {
            continue;
        }
        out.push_str(&source[at..start]);
        for piece in &edit.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Inner(inner) => out.push_str(&render(source, edits, inner.clone())),
            }
        }
        at = end;
    }
    out.push_str(&source[at..range.end]);
    out
}

/// The constants of a file whose values mutants change.
pub fn constants(source: &str, mutants: &BTreeMap<usize, &Mutant>) -> anyhow::Result<BTreeSet<String>> {
    let of_file = syn::parse_file(source)?.items.into_iter();
    let constants = of_file.filter_map(|item| if let syn::Item::Const(item) = item { Some(item) } else { None });
    let is_changed = |item: &syn::ItemConst| {
        let (from, to) = (item.span().start(), item.span().end());
        mutants.values().any(|mutant| {
            let at = mutant.span.start;
            (from.line, from.column) < (at.line, at.column) && (at.line, at.column) <= (to.line, to.column)
        })
    };
    Ok(constants.filter(is_changed).map(|item| item.ident.to_string()).collect())
}

/// A mutant's text between its marks.
pub fn marked(id: usize, text: &str) -> String {
    format!("/*<m{id}*/{text}/*m{id}>*/")
}

struct Finder<'a> {
    source: &'a str,
    mutants: &'a BTreeMap<usize, &'a Mutant>,
    constants: &'a BTreeSet<String>,
    uses: &'a [Edit],
    edits: Vec<Edit>,
    placed: Vec<usize>,
}

/// Where constants that became functions are used.
struct Uses<'a> {
    constants: &'a BTreeSet<String>,
    edits: Vec<Edit>,
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_expr_path(&mut self, expr: &'ast syn::ExprPath) {
        let name = expr.path.get_ident().map(ToString::to_string);
        if let Some(name) = name.filter(|name| self.constants.contains(name)) {
            let pieces = vec![Piece::Text(format!("{name}()"))];
            self.edits.push(Edit { range: expr.span().byte_range(), pieces });
        }
    }
}

impl Finder<'_> {
    /// The mutants of a genre that start where `at` does.
    fn at(&self, genre: &str, at: LineColumn) -> Vec<(usize, String)> {
        let at = Position { line: at.line, column: at.column + 1 };
        let is_here = |mutant: &Mutant| mutant.genre == genre && mutant.span.start == at;
        self.mutants
            .iter()
            .filter(|(_, mutant)| is_here(mutant))
            .map(|(id, one)| (*id, one.replacement.clone()))
            .collect()
    }

    /// The source of a stretch without any mutant.
    fn plain(&self, range: &Range<usize>) -> String {
        render(self.source, self.uses, range.clone())
    }

    fn insert(&mut self, at: usize, text: String) {
        self.edits.push(Edit { range: at..at, pieces: vec![Piece::Text(text)] });
    }

    /// `original` when no mutant is on, else the mutant's text.
    fn switch(&mut self, range: Range<usize>, mutated: Vec<(usize, String)>, original: Vec<Piece>) {
        let mut pieces = vec![Piece::Text("(".to_owned())];
        for (id, text) in mutated {
            pieces.push(Piece::Text(format!("if crate::mutant::is({id}) {{ {} }} else ", marked(id, &text))));
            self.placed.push(id);
        }
        pieces.push(Piece::Text("{ ".to_owned()));
        pieces.extend(original);
        pieces.push(Piece::Text(" })".to_owned()));
        self.edits.push(Edit { range, pieces });
    }

    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let inside = block.span().byte_range().start + 1;
        let first = block.stmts.first().map(|one| one.span().start());
        let start = block.span().start();
        // Where the body is empty or starts with a comment, its span is told by the function's own.
        let mut found = first.map(|at| self.at("FnValue", at)).unwrap_or_default();
        if found.is_empty() {
            let end = block.span().end();
            let lies_within = |mutant: &Mutant| {
                let (from, to) = (mutant.span.start, mutant.span.end);
                mutant.genre == "FnValue"
                    && (from.line, from.column) > (start.line, start.column)
                    && (to.line, to.column) <= (end.line, end.column + 1)
                    && mutant.name.contains(&signature.ident.to_string())
            };
            let all = self.mutants.iter().filter(|(_, mutant)| lies_within(mutant));
            found = all.map(|(id, mutant)| (*id, mutant.replacement.clone())).collect();
            found.retain(|(id, _)| !self.placed.contains(id));
        }
        let returns = |(id, text): &(usize, String)| {
            format!(" if crate::mutant::is({id}) {{ {} }} ", marked(*id, &format!("return {text};")))
        };
        let text: String = found.iter().map(returns).collect();
        self.placed.extend(found.iter().map(|(id, _)| *id));
        if !text.is_empty() {
            self.insert(inside, text);
        }
    }

    /// A function that asks which mutant is on is no constant one.
    fn without_const(&mut self, signature: &syn::Signature, before: usize) {
        if let Some(word) = &signature.constness
            && self.edits.len() > before
        {
            self.edits.push(Edit { range: word.span().byte_range(), pieces: Vec::new() });
        }
    }
}

fn has_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    /// A constant that a mutant changes becomes a function, since which one is on is known at run time only.
    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        if self.constants.contains(&item.ident.to_string()) {
            let mut replace = |range, text: &str| {
                self.edits.push(Edit { range, pieces: vec![Piece::Text(text.to_owned())] });
            };
            replace(item.const_token.span.byte_range(), "fn");
            replace(item.colon_token.span.byte_range(), "() ->");
            replace(item.eq_token.span.byte_range(), "{");
            replace(item.semi_token.span.byte_range(), "}");
            visit::visit_item_const(self, item);
        }
    }

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let before = self.edits.len();
        self.body(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
        self.without_const(&item.sig, before);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let before = self.edits.len();
        self.body(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
        self.without_const(&item.sig, before);
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let found = self.at("BinaryOperator", expr.op.span().start());
        if !found.is_empty() && !has_let(&expr.left) && !has_let(&expr.right) {
            let (left, right) = (expr.left.span().byte_range(), expr.right.span().byte_range());
            let text = |operator: &str| format!("{} {operator} {}", self.plain(&left), self.plain(&right));
            let mutated = found.into_iter().map(|(id, operator)| (id, text(&operator))).collect();
            let between = Piece::Text(self.source[left.end..right.start].to_owned());
            let original = vec![Piece::Inner(left), between, Piece::Inner(right)];
            self.switch(expr.span().byte_range(), mutated, original);
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        let found = self.at("UnaryOperator", expr.op.span().start());
        if !found.is_empty() {
            let (whole, inner) = (expr.span().byte_range(), expr.expr.span().byte_range());
            let text = |operator: &str| format!("{operator}{}", self.plain(&inner));
            let mutated = found.into_iter().map(|(id, operator)| (id, text(&operator))).collect();
            let before = Piece::Text(self.source[whole.start..inner.start].to_owned());
            self.switch(whole, mutated, vec![before, Piece::Inner(inner)]);
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let gone = self.at("MatchArm", arm.span().start());
        self.placed.extend(gone.iter().map(|(id, _)| *id));
        let stays: String = gone.iter().map(|(id, _)| marked(*id, &format!("!crate::mutant::is({id}) && "))).collect();
        match &arm.guard {
            None if stays.is_empty() => {}
            None => self.insert(arm.pat.span().byte_range().end, format!(" if {stays}true")),
            Some((_, guard)) => {
                let found = self.at("MatchArmGuard", guard.span().start());
                let mut before = format!("{stays}(");
                for (id, value) in found {
                    self.placed.push(id);
                    let (test, joined) = if value == "true" { ("", "||") } else { ("!", "&&") };
                    before += &marked(id, &format!("{test}crate::mutant::is({id}) {joined} "));
                }
                // One at a time is on, so the order of the tests does not matter.
                let range = guard.span().byte_range();
                self.insert(range.start, format!("{before}("));
                self.insert(range.end, "))".to_owned());
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        if let Some(rest) = &expr.rest {
            let rest = self.plain(&rest.span().byte_range());
            for field in &expr.fields {
                let found = self.at("StructField", field.span().start());
                let syn::Member::Named(name) = &field.member else { continue };
                if found.is_empty() || field.colon_token.is_none() {
                    continue;
                }
                let range = field.expr.span().byte_range();
                let mut before = "(".to_owned();
                for (id, _) in found {
                    self.placed.push(id);
                    before +=
                        &format!("if crate::mutant::is({id}) {{ {} }} else ", marked(id, &format!("({rest}).{name}")));
                }
                self.insert(range.start, format!("{before}{{ "));
                self.insert(range.end, " })".to_owned());
            }
        }
        visit::visit_expr_struct(self, expr);
    }
}
