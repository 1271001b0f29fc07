/* The ten commonest first letters of words, and how many there are. */
#include <ctype.h>
#include <stdio.h>

int main(void)
{
    long found[26] = { 0 };
    int letter, before = ' ';

    while ((letter = getchar()) != EOF) {
        if (isalpha(letter) && isspace(before))
            found[tolower(letter) - 'a']++;
        before = letter;
    }
    for (int line = 0; line < 10; line++) {
        int most = 0;
        for (int i = 1; i < 26; i++)
            if (found[i] > found[most])
                most = i;
        if (found[most] <= 0)
            break;
        printf("%c %ld\n", 'a' + most, found[most]);
        found[most] = 0;
    }
    return 0;
}
