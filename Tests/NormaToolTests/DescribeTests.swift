import Testing

@Suite struct DescribeTests {
  /// The rows of the table: layer, shape, parameters; and the totals below it.
  private func described(_ arguments: [String]) throws -> (rows: [[String]], total: Int, trainable: Int) {
    let outcome = try Tool.run(["describe"] + arguments)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let lines = outcome.output.split(separator: "\n").map(String.init)
    func number(_ text: String) -> Int { Int(text.filter(\.isNumber)) ?? -1 }
    func total(_ name: String) throws -> Int {
      number(try #require(lines.first { $0.hasPrefix("\(name) parameters:") }))
    }
    let rows = lines.filter { $0.contains("[N, ") }.map { line in
      let (open, close) = (line.firstIndex(of: "[")!, line.firstIndex(of: "]")!)
      return [line[..<open], line[open...close], line[line.index(after: close)...]].map {
        String($0.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
      }
    }
    let (all, trainable) = (try total("Total"), try total("Trainable"))
    #expect(rows.reduce(0) { $0 + number($1[2]) } == all, "every parameter is in one row")
    #expect(try total("Non-trainable") == all - trainable)
    return (rows, all, trainable)
  }

  @Test func theSpotterHasThePublishedTotals() throws {
    let plain = try described(["mean-spot"])
    #expect(plain.total == 3621 && plain.trainable == 3593)
    #expect(plain.rows.contains(["conv (Convolution)", "[N, 8, 14, 14]", "2,808"]))
    #expect(plain.rows.last == ["output (Linear)", "[N, 1]", "393"])
    let attending = try described(["mean-spot", "--attention", "cbam-merge"])
    #expect(attending.trainable == 3593 + 15 + 28 + 98)
    #expect(attending.rows.contains(["attention.spatial.conv (Convolution)", "[N, 1, 14, 14]", "98"]))
  }

  /// torchvision's: 61,100,840 without norms.
  @Test func alexnetIsThatOfThePaper() throws {
    let whole = try described([
      "alexnet", "--width", "64", "--size", "224", "--classes", "1000", "--norm", "none",
    ])
    #expect(whole.total == 61_100_840)
    #expect(whole.rows[0] == ["features.0 (Convolution)", "[N, 64, 55, 55]", "23,296"])
    let small = try described(["alexnet", "--channels", "1", "--size", "32", "--width", "8", "--classes", "5"])
    #expect(small.rows.contains { $0[0].hasPrefix("norms.0 (BatchNorm)") && $0[1] == "[N, 8, 32, 32]" })
    #expect(small.rows.last?[1] == "[N, 5]")
  }

  @Test func digitNetworks() throws {
    let dense = try described(["mnist-dense", "--hidden", "20,30", "--norm", "layer", "--classes", "4"])
    #expect(dense.total == (784 * 20 + 20 + 40) + (20 * 30 + 30 + 60) + (30 * 4 + 4))
    // Norms inside the cell count once, however many rows an image has.
    let lstm = try described(["mnist-lstm", "--hidden", "6,6", "--norm", "layer"])
    #expect(lstm.rows.map { $0[1] } == ["[N, 28, 6]", "[N, 6]", "[N, 10]"])
    func cell(_ inputs: Int) -> Int { 24 * inputs + 24 * 6 + 24 + 2 * (24 + 24 + 6) }
    #expect(lstm.total == cell(28) + cell(6) + 70)
    #expect(try described(["mnist-lstm", "--norm", "none", "--size", "16"]).rows[0][1] == "[N, 16, 128]")
  }

  @Test func unetListsTheLoggedTotals() throws {
    let logged = try described([
      "unet", "--norm", "switchable", "--width", "64", "--as-logged", "--size", "32",
    ])
    #expect(logged.total == 31_060_995)
    #expect(logged.total - logged.trainable == 13_568)
  }

  @Test func unetTakesItsOptions() throws {
    let valid = try described([
      "unet", "--width", "1", "--padding", "valid", "--upsampling", "transposed", "--head", "plain", "--size", "572",
      "--channels", "2", "--classes", "3",
    ])
    #expect(valid.rows.contains { $0[0] == "decoder.3.up.conv (TransposedConvolution)" })
    #expect(valid.rows.last?[1] == "[N, 3, 388, 388]")
  }

  @Test(arguments: [
    (["unet", "--padding", "valid", "--size", "512"], ["188, 204, 220, …, got 512"]),
    (["alexnet", "--hidden", "3"], ["--hidden is for mnist-dense, mnist-lstm, not for alexnet"]),
    (["mean-spot", "--size", "42"], ["--size is for unet, alexnet, mnist-dense, mnist-lstm, not for mean-spot"]),
    (["mean-spot", "--attention", "none,cbam"], ["--attention takes one name"]),
    (["mean-spot", "--as-logged"], ["--as-logged is for unet, not for mean-spot"]),
    (["mnist-lstm", "--channels", "3"], ["--channels is for unet, alexnet, mnist-dense, not for mnist-lstm"]),
    (["mnist-lstm", "--hidden", "3,4"], ["as many hidden units in every layer", "--hidden 3,4"]),
    (["mnist-lstm", "--norm", "batch"], ["batch", "recurrent"]),
    (["alexnet", "--size", "4"], ["input size of 8"]),
    (["alexnet", "--classes", "1"], ["--classes must be in 2…65536, got 1"]),
    (["style-transfer"], ["style-transfer", "mean-spot"]),
  ])
  func whatCannotBeIsNamed(arguments: [String], says: [String]) throws {
    let outcome = try Tool.run(["describe"] + arguments)
    #expect(outcome.status != 0 && outcome.output.isEmpty)
    for text in says { #expect(outcome.errors.contains(text), "\(outcome.errors)") }
  }
}
