/// Times bodies in turns, so that a slow spell of the machine meets all of them and not one.
struct Turns {
  let rounds: Int
  /// Calls of every body before the first that counts.
  var warmUp = 2
  /// A body is called as often per round as takes this long; a single short call would drown in the clock's and the
  /// scheduler's grain.
  var shortest = Duration.zero

  /// Milliseconds of one call of every body.
  func milliseconds(_ bodies: [() throws -> Void]) throws -> [Spread] {
    let calls = try bodies.map { body in
      for _ in 0..<warmUp { try body() }
      return shortest > .zero ? try callsPerRound(body) : 1
    }
    var values = [[Double]](repeating: [], count: bodies.count)
    for _ in 0..<rounds {
      for index in bodies.indices {
        let elapsed = try time(bodies[index], calls: calls[index])
        values[index].append(elapsed / .milliseconds(1) / Double(calls[index]))
      }
    }
    return values.map(Spread.init)
  }

  private func time(_ body: () throws -> Void, calls: Int) rethrows -> Duration {
    try ContinuousClock().measure { for _ in 0..<calls { try body() } }
  }

  private func callsPerRound(_ body: () throws -> Void) rethrows -> Int {
    var calls = 1
    while true {
      let elapsed = try time(body, calls: calls)
      if elapsed >= shortest { return calls }
      // At least doubled, since the first calls may be slower than the later ones.
      let wanted = elapsed > .zero ? Int((Double(calls) * (shortest / elapsed)).rounded(.up)) : 0
      calls = min(max(2 * calls, min(wanted, 100 * calls)), 1 << 20)
      if calls == 1 << 20 { return calls }
    }
  }
}
