import NormaRecords

/// What `norma claims` ends with.
public enum ClaimsTable {
  public static func text(_ record: ClaimsRecord) -> String {
    let blocks = record.claims.map { claim in
      let tests = claim.tests.map { test in
        "  \(test.question): \(signed(test.difference.mean)) ± \(fixed(test.difference.halfWidth, 3)) → \(test.answer.rawValue)"
      }
      let head = "\(mark(claim.answer)) \(claim.statement) \(claim.answer.rawValue.uppercased())"
      return ([head] + tests + ["  \(claim.source). \(claim.quantity)"]).joined(separator: "\n")
    }
    let counts = [ClaimRecord.Answer.held, .didNotHold, .undecided].map { answer in
      "\(record.claims.count { $0.answer == answer }) \(answer.rawValue)"
    }
    return blocks.joined(separator: "\n\n") + "\n\n\(counts.joined(separator: ", ")); \(record.data), "
      + "\(record.configuration["seeds"] ?? "?") seeds. ± is half the 95 % t interval of the differences by seed.\n"
      + "Small networks on one kind of data: what held here may not hold for yours."
  }

  private static func mark(_ answer: ClaimRecord.Answer) -> String {
    switch answer {
    case .held: "✓"
    case .didNotHold: "✗"
    case .undecided: "?"
    }
  }

  private static func signed(_ value: Double) -> String { (value > 0 ? "+" : "") + fixed(value, 3) }
}
